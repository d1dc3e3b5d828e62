// The flows of flows.md with node's amqplib. Usage: node amqplib.js AMQP_URL; NODE_PATH must find amqplib.
'use strict';
const assert = require('assert');
const amqp = require('amqplib');

async function collect(channel, queue, count, options, onMessage) {
  const messages = [];
  let consumerTag;
  await new Promise((resolve, reject) => {
    channel.consume(queue, (message) => {
      if (message === null) return reject(new Error('cancelled'));
      messages.push(message);
      if (onMessage) onMessage(message);
      if (messages.length === count) resolve();
    }, options).then((ok) => { consumerTag = ok.consumerTag; }, reject);
  });
  await channel.cancel(consumerTag);
  return messages;
}

async function workQueue(connection) {
  const publisher = await connection.createConfirmChannel();
  const { queue } = await publisher.assertQueue('e2e.node.work', { durable: true });
  for (let i = 0; i < 1000; i++) publisher.sendToQueue(queue, Buffer.from(String(i)), { persistent: true, messageId: String(i) });
  await publisher.waitForConfirms();
  const consumer = await connection.createChannel();
  await consumer.prefetch(10);
  const got = await collect(consumer, queue, 1000, {}, (m) => consumer.ack(m));
  assert.deepStrictEqual(got.map((m) => Number(m.content)), [...Array(1000).keys()]);
  assert.strictEqual(got[7].properties.messageId, '7');
  await publisher.deleteQueue(queue);
}

async function pubSub(connection) {
  const channel = await connection.createChannel();
  await channel.assertExchange('e2e.node.topic', 'topic', { autoDelete: true, durable: false });
  const queues = [];
  for (const pattern of ['*.error', 'web.#']) {
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, 'e2e.node.topic', pattern);
    queues.push(queue);
  }
  for (const key of ['db.error', 'web.error', 'web.access', 'db.info']) channel.publish('e2e.node.topic', key, Buffer.from(key));
  const [errors, web] = [await collect(channel, queues[0], 2, { noAck: true }), await collect(channel, queues[1], 2, { noAck: true })];
  assert.deepStrictEqual(errors.map((m) => m.fields.routingKey), ['db.error', 'web.error']);
  assert.deepStrictEqual(web.map((m) => m.content.toString()), ['web.error', 'web.access']);
}

async function rpc(connection) {
  const server = await connection.createChannel();
  const { queue } = await server.assertQueue('', { exclusive: true });
  await server.consume(queue, (m) => server.sendToQueue(m.properties.replyTo, Buffer.from(m.content.toString().toUpperCase()),
    { correlationId: m.properties.correlationId }), { noAck: true });
  const client = await connection.createChannel();
  const answers = collect(client, 'amq.rabbitmq.reply-to', 20, { noAck: true });
  for (let i = 0; i < 20; i++) client.sendToQueue(queue, Buffer.from('question ' + i), { replyTo: 'amq.rabbitmq.reply-to', correlationId: String(i) });
  for (const [i, answer] of (await answers).entries()) {
    assert.strictEqual(answer.content.toString(), 'QUESTION ' + i);
    assert.strictEqual(answer.properties.correlationId, String(i));
  }
}

async function sizes(connection) {
  const channel = await connection.createChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  for (const size of [0, 1, 131063, 131064, 131065, 3 << 20]) {
    const body = Buffer.alloc(size, 'z');
    channel.sendToQueue(queue, body, { headers: { size, nested: { list: [1, 'two', true, null] } } });
    const message = await channel.get(queue, { noAck: true });
    assert.ok(message.content.equals(body));
    assert.deepStrictEqual(message.properties.headers, { size, nested: { list: [1, 'two', true, null] } });
  }
}

async function returnsAndErrors(connection) {
  const channel = await connection.createConfirmChannel();
  const returned = new Promise((resolve) => channel.on('return', resolve));
  channel.publish('amq.direct', 'nowhere', Buffer.from('x'), { mandatory: true });
  assert.strictEqual((await returned).fields.replyCode, 312);
  await channel.waitForConfirms();
  channel.on('error', () => {});
  await assert.rejects(channel.checkQueue('nosuch-queue'), /404/);
  await (await connection.createChannel()).close();
}

async function main() {
  const connection = await amqp.connect(process.argv[2]);
  for (const flow of [workQueue, pubSub, rpc, sizes, returnsAndErrors]) {
    await flow(connection);
    console.log('ok', flow.name);
  }
  await connection.close();
}

main().catch((e) => { console.error(e); process.exit(1); });
