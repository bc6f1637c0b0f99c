// Listens as Choreo Connect's adapter does, with the successor of the library that it uses, and prints each event as its
// structure has it: one JSON object a line. Acknowledges each.
package main

import (
	"encoding/json"
	"log"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

type notification struct {
	Event struct {
		PayloadData payload `json:"payloadData"`
	} `json:"event"`
}

type payload struct {
	EventID      string
	RevokedToken string
	TTL          string
	ExpiryTime   int64
	Type         string
	TenantID     int
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	connection, err := amqp.Dial(os.Args[1])
	must(err)
	channel, err := connection.Channel()
	must(err)
	must(channel.ExchangeDeclare("amq.topic", "topic", true, false, false, false, nil))
	queue, err := channel.QueueDeclare("", false, true, false, false, nil)
	must(err)
	must(channel.QueueBind(queue.Name, "tokenRevocation", "amq.topic", false, nil))
	deliveries, err := channel.Consume(queue.Name, "jms-consumer-key", false, false, false, false, nil)
	must(err)
	_, err = os.Stdout.WriteString("listening\n")
	must(err)
	for delivery := range deliveries {
		var heard notification
		must(json.Unmarshal(delivery.Body, &heard))
		line, err := json.Marshal(heard.Event.PayloadData)
		must(err)
		_, err = os.Stdout.Write(append(line, '\n'))
		must(err)
		must(delivery.Ack(false))
	}
}
