package api

import "time"

// MaxDeliveries tells that a message reached its delivery limit.
type MaxDeliveries struct {
	Advisory
	Stream     string `json:"stream"`
	Consumer   string `json:"consumer"`
	StreamSeq  uint64 `json:"stream_seq"`
	Deliveries uint64 `json:"deliveries"`
	Domain     string `json:"domain,omitempty"`
}

// MsgNaked tells that a message was refused by its receiver.
type MsgNaked struct {
	Advisory
	Stream      string `json:"stream"`
	Consumer    string `json:"consumer"`
	ConsumerSeq uint64 `json:"consumer_seq"`
	StreamSeq   uint64 `json:"stream_seq"`
	Deliveries  uint64 `json:"deliveries"`
	Domain      string `json:"domain,omitempty"`
}

// MsgTerminated tells that a receiver gave a message up, for Reason.
type MsgTerminated struct {
	Advisory
	Stream      string `json:"stream"`
	Consumer    string `json:"consumer"`
	ConsumerSeq uint64 `json:"consumer_seq"`
	StreamSeq   uint64 `json:"stream_seq"`
	Deliveries  uint64 `json:"deliveries"`
	Reason      string `json:"reason,omitempty"`
	Domain      string `json:"domain,omitempty"`
}

// ConsumerAckMetric is one sample of acknowledgement latency. Delay is from
// the last delivery to the ack.
type ConsumerAckMetric struct {
	Advisory
	Stream      string        `json:"stream"`
	Consumer    string        `json:"consumer"`
	ConsumerSeq uint64        `json:"consumer_seq"`
	StreamSeq   uint64        `json:"stream_seq"`
	Delay       time.Duration `json:"ack_time"`
	Deliveries  uint64        `json:"deliveries"`
	Domain      string        `json:"domain,omitempty"`
}
