<?php
// The flows of flows.md with php-amqplib. Usage: php php_amqplib.php HOST PORT USER PASSWORD
require_once 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

function check(bool $condition, string $what): void
{
    if (!$condition) {
        throw new RuntimeException("failed: $what");
    }
}

function collect($channel, string $queue, int $count, bool $noAck): array
{
    $got = [];
    $tag = $channel->basic_consume($queue, '', false, $noAck, false, false, function ($message) use (&$got, $noAck) {
        $got[] = $message;
        if (!$noAck) {
            $message->ack();
        }
    });
    while (count($got) < $count) {
        $channel->wait(null, false, 20);
    }
    $channel->basic_cancel($tag);
    return $got;
}

function work_queue($connection): void
{
    $channel = $connection->channel();
    $channel->confirm_select();
    $channel->queue_declare('e2e.php.work', false, true, false, false);
    for ($i = 0; $i < 1000; $i++) {
        $channel->basic_publish(new AMQPMessage((string)$i, ['delivery_mode' => 2]), '', 'e2e.php.work');
    }
    $channel->wait_for_pending_acks(20);
    $consumer = $connection->channel();
    $consumer->basic_qos(0, 10, false);
    $bodies = array_map(fn($m) => (int)$m->body, collect($consumer, 'e2e.php.work', 1000, false));
    check($bodies === range(0, 999), 'order');
    $channel->queue_delete('e2e.php.work');
}

function pub_sub($connection): void
{
    $channel = $connection->channel();
    $channel->exchange_declare('e2e.php.topic', 'topic', false, false, true);
    $queues = [];
    foreach (['*.error', 'web.#'] as $pattern) {
        [$queue] = $channel->queue_declare('', false, false, true, false);
        $channel->queue_bind($queue, 'e2e.php.topic', $pattern);
        $queues[] = $queue;
    }
    foreach (['db.error', 'web.error', 'web.access', 'db.info'] as $key) {
        $channel->basic_publish(new AMQPMessage($key), 'e2e.php.topic', $key);
    }
    $keys = fn($messages) => array_map(fn($m) => $m->getRoutingKey(), $messages);
    check($keys(collect($channel, $queues[0], 2, true)) === ['db.error', 'web.error'], 'first subscriber');
    check($keys(collect($channel, $queues[1], 2, true)) === ['web.error', 'web.access'], 'second subscriber');
}

function rpc($connection): void
{
    $server = $connection->channel();
    [$requests] = $server->queue_declare('', false, false, true, false);
    $client = $connection->channel();
    $answers = [];
    $client->basic_consume('amq.rabbitmq.reply-to', '', false, true, false, false, function ($m) use (&$answers) {
        $answers[] = [$m->get('correlation_id'), $m->body];
    });
    for ($i = 0; $i < 20; $i++) {
        $client->basic_publish(new AMQPMessage("question $i", ['reply_to' => 'amq.rabbitmq.reply-to', 'correlation_id' => (string)$i]), '', $requests);
        [$question] = collect($server, $requests, 1, true);
        $server->basic_publish(new AMQPMessage(strtoupper($question->body), ['correlation_id' => $question->get('correlation_id')]), '', $question->get('reply_to'));
        while (count($answers) <= $i) {
            $client->wait(null, false, 20);
        }
        check($answers[$i] === [(string)$i, "QUESTION $i"], "answer $i");
    }
}

function sizes($connection): void
{
    $channel = $connection->channel();
    [$queue] = $channel->queue_declare('', false, false, true, false);
    $headers = ['a' => 1, 'nested' => ['list' => [1, 'two', true]]];
    foreach ([0, 1, 131063, 131064, 131065, 3 << 20] as $size) {
        $channel->basic_publish(new AMQPMessage(str_repeat('z', $size), ['application_headers' => new AMQPTable($headers)]), '', $queue);
        $message = $channel->basic_get($queue, true);
        check($message->body === str_repeat('z', $size), "body of $size bytes");
        check($message->get('application_headers')->getNativeData() === $headers, 'headers');
    }
}

function returns_and_errors($connection): void
{
    $channel = $connection->channel();
    $returned = null;
    $channel->set_return_listener(function ($code, $text, $exchange, $key, $message) use (&$returned) {
        $returned = [$code, $text, $key, $message->body];
    });
    $channel->basic_publish(new AMQPMessage('x'), 'amq.direct', 'nowhere', true);
    while ($returned === null) {
        $channel->wait(null, false, 20);
    }
    check($returned === [312, 'NO_ROUTE', 'nowhere', 'x'], 'return');
    try {
        $channel->queue_declare('nosuch-queue', true);
        throw new RuntimeException('a missing queue was found');
    } catch (AMQPProtocolChannelException $e) {
        check($e->getCode() === 404, 'code of a missing queue');
    }
    $connection->channel()->close();
}

[, $host, $port, $user, $password] = $argv;
$connection = new AMQPStreamConnection($host, (int)$port, $user, $password);
foreach (['work_queue', 'pub_sub', 'rpc', 'sizes', 'returns_and_errors'] as $flow) {
    $flow($connection);
    echo "ok $flow\n";
}
$connection->close();
