// A pipeline of benthos for the example product of the protocol page: main SETTINGS.
//
// Its own json_schema and mapping judge and answer; an MQTT input and output are here, on paho, with
// manual acknowledgement after the reply was accepted by the broker.
package main

import (
	"context"
	"fmt"
	"os"
	"regexp"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

const (
	topic    = "sys/protocol/integration/measurepoint/post"
	waiting  = 1000
	inFlight = 64
)

const pipeline = `
input:
  glue_mqtt: {}
pipeline:
  threads: 2
  processors:
    - json_schema:
        schema: |
          {"type":"object","required":["version","method","params"],"properties":{
            "id":{"type":"string"},"version":{"type":"string"},
            "method":{"const":"integration.measurepoint.post"},
            "params":{"type":"array","items":{"type":"object","required":["measurepoints","deviceKey"],
              "properties":{"deviceKey":{"type":"string"},"time":{"type":"integer","minimum":0},
              "measurepoints":{"type":"object","additionalProperties":false,"properties":{
                "Power":{"anyOf":[{"type":"integer"},{"type":"object","additionalProperties":false,
                  "required":["value"],"properties":{"value":{"type":"integer"},
                  "quality":{"type":"integer","minimum":0,"maximum":9}}}]},
                "temp":{"type":"number"},
                "branchCurr":{"type":"array","items":{"type":"string"}}}}}}}}}
    - mapping: |
        root.id = this.id
        root.code = if this.params.all(entry -> ["device1", "device2"].contains(entry.deviceKey)) { 200 } else { 1257 }
        root.data = {}
    - catch:
        - mapping: |
            root.id = this.id.catch("")
            root.code = 1204
            root.message = error()
output:
  glue_mqtt: {}
logger:
  level: "OFF"
`

var (
	client   mqtt.Client
	requests = make(chan mqtt.Message, waiting)
)

type input struct{}

func (input) Connect(context.Context) error { return nil }
func (input) Close(context.Context) error   { return nil }
func (input) Read(ctx context.Context) (*service.Message, service.AckFunc, error) {
	select {
	case request := <-requests:
		message := service.NewMessage(request.Payload())
		message.MetaSetMut("topic", request.Topic())
		message.MetaSetMut("qos", int(request.Qos()))
		return message, func(context.Context, error) error { request.Ack(); return nil }, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

type output struct{}

func (output) Connect(context.Context) error { return nil }
func (output) Close(context.Context) error   { return nil }
func (output) Write(_ context.Context, message *service.Message) error {
	reply, err := message.AsBytes()
	if err != nil {
		return err
	}
	to, _ := message.MetaGet("topic")
	qos, _ := message.MetaGetMut("qos")
	sent := client.Publish(to+"_reply", byte(qos.(int)), false, reply)
	sent.Wait()
	return sent.Error()
}

func run() error {
	file, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	address := regexp.MustCompile(`mqtt://([^"]+)`).FindSubmatch(file)
	options := mqtt.NewClientOptions().AddBroker("tcp://" + string(address[1])).SetClientID("glue")
	options.SetAutoAckDisabled(true).SetOrderMatters(true).SetMessageChannelDepth(waiting)
	client = mqtt.NewClient(options)
	if connected := client.Connect(); connected.Wait() && connected.Error() != nil {
		return connected.Error()
	}
	spec := service.NewConfigSpec()
	err = service.RegisterInput("glue_mqtt", spec,
		func(*service.ParsedConfig, *service.Resources) (service.Input, error) { return input{}, nil })
	if err != nil {
		return err
	}
	err = service.RegisterOutput("glue_mqtt", spec,
		func(*service.ParsedConfig, *service.Resources) (service.Output, int, error) {
			return output{}, inFlight, nil
		})
	if err != nil {
		return err
	}
	builder := service.NewStreamBuilder()
	if err := builder.SetYAML(pipeline); err != nil {
		return err
	}
	stream, err := builder.Build()
	if err != nil {
		return err
	}
	client.Subscribe(topic, 1, func(_ mqtt.Client, request mqtt.Message) { requests <- request }).Wait()
	return stream.Run(context.Background())
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
