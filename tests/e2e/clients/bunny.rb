# The flows of flows.md with Ruby's Bunny. Usage: ruby bunny.rb AMQP_URL
require 'bunny'

def check(condition, what)
  raise "failed: #{what}" unless condition
end

def collect(channel, queue, count, manual_ack: false)
  messages = Queue.new
  consumer = queue.subscribe(manual_ack: manual_ack) do |info, properties, body|
    channel.ack(info.delivery_tag) if manual_ack
    messages << [info, properties, body]
  end
  list = Array.new(count) { messages.pop }
  consumer.cancel
  list
end

def work_queue(connection)
  channel = connection.create_channel
  channel.confirm_select
  queue = channel.queue('e2e.bunny.work', durable: true)
  1000.times { |i| queue.publish(i.to_s, persistent: true, message_id: i.to_s) }
  check channel.wait_for_confirms, 'confirms'
  consumer = connection.create_channel
  consumer.prefetch(10)
  got = collect(consumer, consumer.queue('e2e.bunny.work', durable: true), 1000, manual_ack: true)
  check got.map { |_, _, body| body.to_i } == (0...1000).to_a, 'order'
  queue.delete
end

def pub_sub(connection)
  channel = connection.create_channel
  exchange = channel.topic('e2e.bunny.topic', auto_delete: true)
  queues = ['*.error', 'web.#'].map { |pattern| channel.queue('', exclusive: true).bind(exchange, routing_key: pattern) }
  %w[db.error web.error web.access db.info].each { |key| exchange.publish(key, routing_key: key) }
  check collect(channel, queues[0], 2).map { |_, _, body| body } == %w[db.error web.error], 'first subscriber'
  check collect(channel, queues[1], 2).map { |info, _, _| info.routing_key } == %w[web.error web.access], 'second subscriber'
end

def rpc(connection)
  server = connection.create_channel
  requests = server.queue('', exclusive: true)
  requests.subscribe do |_, properties, body|
    server.default_exchange.publish(body.upcase, routing_key: properties.reply_to, correlation_id: properties.correlation_id)
  end
  client = connection.create_channel
  answers = Queue.new
  client.basic_consume('amq.rabbitmq.reply-to', 'rpc', true) { |_, properties, body| answers << [properties.correlation_id, body] }
  20.times do |i|
    client.default_exchange.publish("question #{i}", routing_key: requests.name, reply_to: 'amq.rabbitmq.reply-to', correlation_id: i.to_s)
    check answers.pop == [i.to_s, "QUESTION #{i}"], "answer #{i}"
  end
end

def sizes(connection)
  channel = connection.create_channel
  queue = channel.queue('', exclusive: true)
  headers = { 'a' => 1, 'nested' => { 'list' => [1, 'two'], 'yes' => true } }
  [0, 1, 131_063, 131_064, 131_065, 3 << 20].each do |size|
    queue.publish('z' * size, headers: headers)
    _, properties, body = queue.pop
    check body.to_s == 'z' * size, "body of #{size} bytes" # Bunny gives nil for an empty one
    check properties.headers == headers, "headers: #{properties.headers}"
  end
end

def returns_and_errors(connection)
  channel = connection.create_channel
  returned = Queue.new
  exchange = channel.direct('amq.direct')
  exchange.on_return { |info, _, body| returned << [info.reply_code, body] }
  exchange.publish('x', routing_key: 'nowhere', mandatory: true)
  check returned.pop == [312, 'x'], 'return'
  begin
    channel.queue_declare('nosuch-queue', passive: true)
    raise 'a missing queue was found'
  rescue Bunny::NotFound
    connection.create_channel.close
  end
end

connection = Bunny.new(ARGV[0], log_level: :warn, automatically_recover: false)
connection.start
%i[work_queue pub_sub rpc sizes returns_and_errors].each do |flow|
  send(flow, connection)
  puts "ok #{flow}"
end
connection.close
