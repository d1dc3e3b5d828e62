// The flows of flows.md with RabbitMQ's Java client. Usage: java -cp amqp-client.jar:slf4j-api.jar Client.java AMQP_URL

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public class Client {
    record Message(Envelope envelope, AMQP.BasicProperties properties, byte[] body) {
        String text() {
            return new String(body);
        }
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            throw new IllegalStateException("failed: " + what);
        }
    }

    static BlockingQueue<Message> consume(Channel channel, String queue, boolean autoAck) throws IOException {
        BlockingQueue<Message> messages = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, autoAck, new DefaultConsumer(channel) {
            @Override
            public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body) throws IOException {
                if (!autoAck) {
                    channel.basicAck(envelope.getDeliveryTag(), false);
                }
                messages.add(new Message(envelope, properties, body));
            }
        });
        return messages;
    }

    static Message next(BlockingQueue<Message> messages) throws InterruptedException {
        Message message = messages.poll(20, TimeUnit.SECONDS);
        check(message != null, "a delivery within 20 s");
        return message;
    }

    static AMQP.BasicProperties.Builder properties() {
        return new AMQP.BasicProperties.Builder();
    }

    static void workQueue(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        channel.confirmSelect();
        channel.queueDeclare("e2e.java.work", true, false, false, null);
        for (int i = 0; i < 1000; i++) {
            channel.basicPublish("", "e2e.java.work", properties().deliveryMode(2).build(), String.valueOf(i).getBytes());
        }
        channel.waitForConfirmsOrDie(20000);
        Channel consumer = connection.createChannel();
        consumer.basicQos(10);
        BlockingQueue<Message> messages = consume(consumer, "e2e.java.work", false);
        for (int i = 0; i < 1000; i++) {
            check(next(messages).text().equals(String.valueOf(i)), "order");
        }
        channel.queueDelete("e2e.java.work");
    }

    static void pubSub(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        channel.exchangeDeclare("e2e.java.topic", "topic", false, true, null);
        List<BlockingQueue<Message>> subscribers = new ArrayList<>();
        for (String pattern : List.of("*.error", "web.#")) {
            String queue = channel.queueDeclare().getQueue();
            channel.queueBind(queue, "e2e.java.topic", pattern);
            subscribers.add(consume(channel, queue, true));
        }
        for (String key : List.of("db.error", "web.error", "web.access", "db.info")) {
            channel.basicPublish("e2e.java.topic", key, null, key.getBytes());
        }
        for (String key : List.of("db.error", "web.error")) {
            check(next(subscribers.get(0)).text().equals(key), "first subscriber");
        }
        for (String key : List.of("web.error", "web.access")) {
            check(next(subscribers.get(1)).envelope().getRoutingKey().equals(key), "second subscriber");
        }
        channel.close();
    }

    static void rpc(Connection connection) throws Exception {
        Channel server = connection.createChannel();
        String requests = server.queueDeclare().getQueue();
        server.basicConsume(requests, true, new DefaultConsumer(server) {
            @Override
            public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties question, byte[] body) throws IOException {
                server.basicPublish("", question.getReplyTo(), properties().correlationId(question.getCorrelationId()).build(),
                    new String(body).toUpperCase().getBytes());
            }
        });
        Channel client = connection.createChannel();
        BlockingQueue<Message> answers = consume(client, "amq.rabbitmq.reply-to", true);
        for (int i = 0; i < 20; i++) {
            client.basicPublish("", requests, properties().replyTo("amq.rabbitmq.reply-to").correlationId("" + i).build(),
                ("question " + i).getBytes());
            Message answer = next(answers);
            check(answer.text().equals("QUESTION " + i) && answer.properties().getCorrelationId().equals("" + i), "answer");
        }
    }

    static void sizes(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        String queue = channel.queueDeclare().getQueue();
        for (int size : new int[] {0, 1, 131063, 131064, 131065, 3 << 20}) {
            byte[] body = new byte[size];
            Arrays.fill(body, (byte) 'z');
            channel.basicPublish("", queue, properties().headers(Map.of("a", 1, "list", List.of(1, true))).build(), body);
            GetResponse got = channel.basicGet(queue, true);
            check(Arrays.equals(got.getBody(), body), "body of " + size + " bytes");
            check(got.getProps().getHeaders().get("a").equals(1), "headers");
        }
    }

    static void returnsAndErrors(Connection connection) throws Exception {
        Channel channel = connection.createChannel();
        BlockingQueue<Integer> returned = new LinkedBlockingQueue<>();
        channel.addReturnListener((code, text, exchange, key, properties, body) -> returned.add(code));
        channel.basicPublish("amq.direct", "nowhere", true, null, "x".getBytes());
        check(Integer.valueOf(312).equals(returned.poll(20, TimeUnit.SECONDS)), "return");
        try {
            channel.queueDeclarePassive("nosuch-queue");
            check(false, "a missing queue was found");
        } catch (IOException e) {
            AMQP.Channel.Close close = (AMQP.Channel.Close) ((ShutdownSignalException) e.getCause()).getReason();
            check(close.getReplyCode() == 404, "code of a missing queue");
        }
        connection.createChannel().close();
    }

    interface Flow {
        void run(Connection connection) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(arguments[0]);
        factory.setAutomaticRecoveryEnabled(false);
        Connection connection = factory.newConnection();
        String[] names = {"workQueue", "pubSub", "rpc", "sizes", "returnsAndErrors"};
        Flow[] flows = {Client::workQueue, Client::pubSub, Client::rpc, Client::sizes, Client::returnsAndErrors};
        for (int i = 0; i < flows.length; i++) {
            flows[i].run(connection);
            System.out.println("ok " + names[i]);
        }
        connection.close();
        System.exit(0);
    }
}
