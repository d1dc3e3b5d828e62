// The flows of flows.md with Go's amqp091. Usage: client AMQP_URL
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func must[T any](value T, err error) T {
	ok(err)
	return value
}

func ok(err error) {
	if err != nil {
		panic(err)
	}
}

func check(condition bool, what string) {
	if !condition {
		panic("failed: " + what)
	}
}

func next(deliveries <-chan amqp.Delivery) amqp.Delivery {
	select {
	case d, open := <-deliveries:
		check(open, "consumer still open")
		return d
	case <-time.After(20 * time.Second):
		panic("no delivery within 20 s")
	}
}

func publish(ch *amqp.Channel, exchange, key string, mandatory bool, message amqp.Publishing) {
	ok(ch.PublishWithContext(context.Background(), exchange, key, mandatory, false, message))
}

func workQueue(connection *amqp.Connection) {
	ch := must(connection.Channel())
	ok(ch.Confirm(false))
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, 1000))
	queue := must(ch.QueueDeclare("e2e.go.work", true, false, false, false, nil))
	for i := 0; i < 1000; i++ {
		publish(ch, "", queue.Name, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(strconv.Itoa(i))})
	}
	for i := 0; i < 1000; i++ {
		check((<-confirms).Ack, "confirm")
	}
	consumer := must(connection.Channel())
	ok(consumer.Qos(10, 0, false))
	deliveries := must(consumer.Consume(queue.Name, "", false, false, false, false, nil))
	for i := 0; i < 1000; i++ {
		d := next(deliveries)
		check(string(d.Body) == strconv.Itoa(i), "order")
		ok(d.Ack(false))
	}
	must(ch.QueueDelete(queue.Name, false, false, false))
}

func pubSub(connection *amqp.Connection) {
	ch := must(connection.Channel())
	ok(ch.ExchangeDeclare("e2e.go.topic", "topic", false, true, false, false, nil))
	subscribers := []<-chan amqp.Delivery{}
	for _, pattern := range []string{"*.error", "web.#"} {
		queue := must(ch.QueueDeclare("", false, false, true, false, nil))
		ok(ch.QueueBind(queue.Name, pattern, "e2e.go.topic", false, nil))
		subscribers = append(subscribers, must(ch.Consume(queue.Name, "", true, true, false, false, nil)))
	}
	for _, key := range []string{"db.error", "web.error", "web.access", "db.info"} {
		publish(ch, "e2e.go.topic", key, false, amqp.Publishing{Body: []byte(key)})
	}
	for i, keys := range [][]string{{"db.error", "web.error"}, {"web.error", "web.access"}} {
		for _, key := range keys {
			d := next(subscribers[i])
			check(string(d.Body) == key && d.RoutingKey == key, "subscriber "+strconv.Itoa(i))
		}
	}
	ok(ch.Close())
}

func rpc(connection *amqp.Connection) {
	server := must(connection.Channel())
	queue := must(server.QueueDeclare("", false, false, true, false, nil))
	requests := must(server.Consume(queue.Name, "", true, false, false, false, nil))
	go func() {
		for q := range requests {
			publish(server, "", q.ReplyTo, false, amqp.Publishing{CorrelationId: q.CorrelationId, Body: bytes.ToUpper(q.Body)})
		}
	}()
	client := must(connection.Channel())
	answers := must(client.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil))
	for i := 0; i < 20; i++ {
		question := fmt.Sprintf("question %d", i)
		publish(client, "", queue.Name, false, amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to", CorrelationId: strconv.Itoa(i), Body: []byte(question)})
		a := next(answers)
		check(a.CorrelationId == strconv.Itoa(i) && string(a.Body) == strings.ToUpper(question), question)
	}
}

func sizes(connection *amqp.Connection) {
	ch := must(connection.Channel())
	queue := must(ch.QueueDeclare("", false, false, true, false, nil))
	headers := amqp.Table{"a": int32(1), "nested": amqp.Table{"list": []interface{}{int32(1), "two", true, nil}}}
	for _, size := range []int{0, 1, 131063, 131064, 131065, 3 << 20} {
		body := bytes.Repeat([]byte("z"), size)
		publish(ch, "", queue.Name, false, amqp.Publishing{Headers: headers, Body: body})
		d, found, err := ch.Get(queue.Name, true)
		ok(err)
		check(found && bytes.Equal(d.Body, body), "body of "+strconv.Itoa(size)+" bytes")
		check(reflect.DeepEqual(d.Headers, headers), "headers")
	}
}

func returnsAndErrors(connection *amqp.Connection) {
	ch := must(connection.Channel())
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	publish(ch, "amq.direct", "nowhere", true, amqp.Publishing{Body: []byte("x")})
	check((<-returns).ReplyCode == amqp.NoRoute, "return")
	_, err := ch.QueueDeclarePassive("nosuch-queue", false, false, false, false, nil)
	var problem *amqp.Error
	check(errors.As(err, &problem) && problem.Code == amqp.NotFound, "a missing queue")
	ok(must(connection.Channel()).Close())
}

func main() {
	connection := must(amqp.Dial(os.Args[1]))
	flows := []struct {
		name string
		run  func(*amqp.Connection)
	}{{"workQueue", workQueue}, {"pubSub", pubSub}, {"rpc", rpc}, {"sizes", sizes}, {"returnsAndErrors", returnsAndErrors}}
	for _, flow := range flows {
		flow.run(connection)
		fmt.Println("ok", flow.name)
	}
	ok(connection.Close())
}
