package machine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"weir/internal/api"
	"weir/internal/base"
	"weir/internal/consumer"
	"weir/internal/stream"
)

// A command is the data of one Raft entry:
//
//	version (1 byte), kind (1 byte), proposer (uvarint), seq (uvarint), body
//
// The body of what is rare is JSON; that of publishes, deltas and runners is binary.
const commandVersion = 1

// Kind is what a command does.
type Kind byte

// The kinds of commands. Values are stored in logs: never change or reuse one.
const (
	KindInit           Kind = 1
	KindPublish        Kind = 2
	KindUpdate         Kind = 3
	KindPurge          Kind = 4
	KindDeleteMsg      Kind = 5
	KindConsumerCreate Kind = 6
	KindConsumerDelete Kind = 7
	KindDeltas         Kind = 8
	KindRunners        Kind = 9
	KindConsumerPause  Kind = 10
	KindConsumerReset  Kind = 11
	KindExpire         Kind = 12
	KindCopy           Kind = 13
	KindLoad           Kind = 14
	KindLoadConsumer   Kind = 15
	KindLoadPending    Kind = 16
	KindLoadEnd        Kind = 17
	KindBatch          Kind = 18
	KindFastPublish    Kind = 19
	KindMeet           Kind = 20
)

// Origin says who proposed a command, so that its answer finds the client who waits. Seq numbers the proposer's requests; a
// publish command takes one number per message, from Seq on; an atomic batch takes one. A replica that restarts must not reuse
// numbers: entries of its former life may still be applied.
type Origin struct {
	Proposer base.ReplicaID
	Seq      uint64
}

// IsPublish tells whether a command stores what clients published.
func IsPublish(cmd []byte) bool {
	return len(cmd) > 1 && (Kind(cmd[1]) == KindPublish || Kind(cmd[1]) == KindFastPublish)
}

// Command is one of the structs below, or a publish (see AppendPublish).
type Command interface{ kind() Kind }

// Init makes the stream. Config has passed stream.Check.
type Init struct {
	Config  api.StreamConfig `json:"config"`
	Created int64            `json:"created"` // unix ns
	// Loading: a backup follows. Until LoadEnd only Load… commands do anything.
	Loading bool `json:"loading,omitempty"`
}

// Update puts a configuration in force that has passed stream.CheckUpdate. It is refused if a mirror or source has begun to read since Keep was made
// that the stream would not know of under its new retention.
type Update struct {
	Time   int64            `json:"time"` // unix ns
	Config api.StreamConfig `json:"config"`
	Keep   []Kept           `json:"keep,omitempty"` // by Machine.Keep
}

// Purge removes messages; fields as stream.PurgeRequest.
type Purge struct {
	Filter string `json:"filter,omitempty"`
	Below  uint64 `json:"below,omitempty"`
	Keep   uint64 `json:"keep,omitempty"`
	UpTo   uint64 `json:"up_to,omitempty"`
}

// DeleteMsg removes one message.
type DeleteMsg struct {
	Seq     uint64 `json:"seq"`
	NoErase bool   `json:"no_erase,omitempty"`
}

// Action is the "action" of a consumer create request.
type Action string

// The actions: make or update, only make, only update.
const (
	ActionAny    Action = ""
	ActionCreate Action = "create"
	ActionUpdate Action = "update"
)

// ConsumerCreate makes or updates a consumer. The proposer has given an ephemeral consumer its name.
type ConsumerCreate struct {
	Time     int64              `json:"time"` // unix ns
	Action   Action             `json:"action,omitempty"`
	Pedantic bool               `json:"pedantic,omitempty"`
	Config   api.ConsumerConfig `json:"config"`
	Limits   consumer.Limits    `json:"limits"`
	// Runner serves a consumer that is made.
	Runner base.ReplicaID `json:"runner"`
}

// ConsumerDelete removes a consumer. ID, unless 0, must be the consumer's: an ephemeral that fell idle is not to be mistaken
// for one made since under its name.
type ConsumerDelete struct {
	Name string `json:"name"`
	ID   uint64 `json:"id,omitempty"`
}

// ConsumerPause suspends delivery until a time; nil resumes.
type ConsumerPause struct {
	Name  string     `json:"name"`
	Until *time.Time `json:"until,omitempty"`
}

// ConsumerReset starts a consumer over with the message Seq; 0 is where it was made to start.
type ConsumerReset struct {
	Name string `json:"name"`
	Seq  uint64 `json:"seq,omitempty"`
}

// Expire lets time pass: what is due at Time goes, or comes if a schedule says so. Zoned is what stream.Stream.ZonedDue asks for.
type Expire struct {
	Time  int64 // unix ns
	Zoned []stream.ZonedNext
}

// Copy brings messages of an origin into a mirror or a sourcing stream. Body has the messages, by AppendCopied.
type Copy struct {
	Time   int64 // unix ns
	Origin string
	Body   []byte
}

// Load brings messages of a backup. Body has them, by AppendCopied.
type Load struct {
	Time int64 // unix ns
	Body []byte
}

// LoadConsumer brings a consumer of a backup. It has no runner until one is appointed.
type LoadConsumer struct {
	Time      int64              `json:"time"` // unix ns
	Config    api.ConsumerConfig `json:"config"`
	Limits    consumer.Limits    `json:"limits"`
	Delivered consumer.Pair      `json:"delivered"`
	AckFloor  consumer.Pair      `json:"ack_floor"`
	// LastPerSubject as in consumer.Consumer.
	LastPerSubject uint64 `json:"last_per_subject,omitempty"`
}

// LoadPending brings what waits for an ack of a consumer of a backup.
type LoadPending struct {
	Consumer string
	Pending  []consumer.Pending
}

// LoadEnd ends a backup. Last is the last sequence that its stream had given.
type LoadEnd struct {
	Last uint64 `json:"last"`
}

// Meet notes the identity of an origin before messages of it are copied. A mirror gives no sequence up to Before any more: what the
// origin has had there is gone.
type Meet struct {
	Origin   string `json:"origin"`
	Identity string `json:"identity"`
	Before   uint64 `json:"before,omitempty"`
}

// Runners appoints runners.
type Runners []Appointment

// Appointment makes a replica the runner of a consumer, whose epoch rises. Epoch is the one in force when it was decided;
// it is ignored when that is over.
type Appointment struct {
	Consumer uint64 // its ID
	Epoch    uint64
	Runner   base.ReplicaID
}

// Deltas is the work of runners.
type Deltas struct {
	Time int64 // unix ns
	List []Delta
}

// Delta is a piece of one runner's work.
type Delta struct {
	Consumer uint64 // its ID
	Epoch    uint64
	Ticket   uint64 // numbers the deltas of an epoch from 1
	Ops      []byte // consumer.Ops
}

func (*Init) kind() Kind           { return KindInit }
func (*Update) kind() Kind         { return KindUpdate }
func (*Purge) kind() Kind          { return KindPurge }
func (*DeleteMsg) kind() Kind      { return KindDeleteMsg }
func (*ConsumerCreate) kind() Kind { return KindConsumerCreate }
func (*ConsumerDelete) kind() Kind { return KindConsumerDelete }
func (*ConsumerPause) kind() Kind  { return KindConsumerPause }
func (*ConsumerReset) kind() Kind  { return KindConsumerReset }
func (*Expire) kind() Kind         { return KindExpire }
func (*Copy) kind() Kind           { return KindCopy }
func (*Meet) kind() Kind           { return KindMeet }
func (*Load) kind() Kind           { return KindLoad }
func (*LoadConsumer) kind() Kind   { return KindLoadConsumer }
func (*LoadPending) kind() Kind    { return KindLoadPending }
func (*LoadEnd) kind() Kind        { return KindLoadEnd }
func (Runners) kind() Kind         { return KindRunners }
func (*Deltas) kind() Kind         { return KindDeltas }

// Append encodes a command.
func Append(dst []byte, o Origin, c Command) []byte {
	dst = appendHeader(dst, c.kind(), o)
	switch c := c.(type) {
	case *Expire:
		dst = binary.AppendVarint(dst, c.Time)
		for _, z := range c.Zoned {
			dst = binary.AppendUvarint(dst, z.Seq)
			dst = binary.AppendVarint(dst, z.Due)
			dst = binary.AppendVarint(dst, int64(z.Offset))
		}
		return dst
	case *Copy:
		dst = binary.AppendVarint(dst, c.Time)
		dst = binary.AppendUvarint(dst, uint64(len(c.Origin)))
		return append(append(dst, c.Origin...), c.Body...)
	case *Load:
		return append(binary.AppendVarint(dst, c.Time), c.Body...)
	case *LoadPending:
		return c.append(dst)
	case Runners:
		for _, a := range c {
			dst = binary.AppendUvarint(dst, a.Consumer)
			dst = binary.AppendUvarint(dst, a.Epoch)
			dst = binary.AppendUvarint(dst, uint64(a.Runner))
		}
		return dst
	case *Deltas:
		dst = binary.AppendVarint(dst, c.Time)
		for _, d := range c.List {
			dst = AppendDelta(dst, d)
		}
		return dst
	}
	doc, err := json.Marshal(c)
	base.Assert(err == nil, "%T can not be encoded: %v", c, err)
	return append(dst, doc...)
}

func appendHeader(dst []byte, k Kind, o Origin) []byte {
	dst = append(dst, commandVersion, byte(k))
	dst = binary.AppendUvarint(dst, uint64(o.Proposer))
	return binary.AppendUvarint(dst, o.Seq)
}

// AppendDelta encodes one delta, as it travels to the leader; DecodeDelta reads it.
func AppendDelta(dst []byte, d Delta) []byte {
	dst = binary.AppendUvarint(dst, d.Consumer)
	dst = binary.AppendUvarint(dst, d.Epoch)
	dst = binary.AppendUvarint(dst, d.Ticket)
	dst = binary.AppendUvarint(dst, uint64(len(d.Ops)))
	return append(dst, d.Ops...)
}

// DecodeDelta takes one delta off the front of buf. Ops points into buf and is checked.
func DecodeDelta(buf []byte) (d Delta, rest []byte, err error) {
	r := base.Decoder{Rest: buf}
	d = Delta{Consumer: r.Uvarint(), Epoch: r.Uvarint(), Ticket: r.Uvarint()}
	d.Ops = r.Bytes(r.Uvarint())
	if r.Bad {
		return Delta{}, nil, fmt.Errorf("delta: %w", errCommand)
	}
	if err := consumer.CheckOps(d.Ops); err != nil {
		return Delta{}, nil, fmt.Errorf("delta of consumer %d: %w", d.Consumer, err)
	}
	return d, r.Rest, nil
}

// AppendPublish begins a publish command of messages taken at now (unix ns). AppendMessage adds each; at least one.
func AppendPublish(dst []byte, o Origin, now int64) []byte {
	return binary.AppendVarint(appendHeader(dst, KindPublish, o), now)
}

// AppendMessage adds a message to a publish command.
func AppendMessage[T string | []byte](dst []byte, subject T, header, data []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(subject)))
	dst = binary.AppendUvarint(dst, uint64(len(header)))
	dst = binary.AppendUvarint(dst, uint64(len(data)))
	dst = append(dst, subject...)
	dst = append(dst, header...)
	return append(dst, data...)
}

// AppendCopied adds a message of an origin, its sequence and time (unix ns) there, to the body of a Copy.
func AppendCopied(dst []byte, seq uint64, time int64, subject string, header, data []byte) []byte {
	dst = binary.AppendUvarint(dst, seq)
	dst = binary.AppendVarint(dst, time)
	return AppendMessage(dst, subject, header, data)
}

// decodePub takes a message that AppendMessage wrote off the front of r. It points into what r reads.
func decodePub(r *base.Decoder) stream.Pub {
	subjectLen, headerLen, dataLen := r.Uvarint(), r.Uvarint(), r.Uvarint()
	literal := r.Bytes(subjectLen)
	return stream.Pub{Subject: base.View(literal), Header: r.Bytes(headerLen), Data: r.Bytes(dataLen)}
}

// decodeCopied takes a message that AppendCopied wrote off the front of r. It points into what r reads.
func decodeCopied(r *base.Decoder) stream.Copied {
	c := stream.Copied{Seq: r.Uvarint(), Time: r.Varint()}
	c.Pub = decodePub(r)
	return c
}

var errCommand = errors.New("command can not be read")

// decodeHeader takes the header off a command.
func decodeHeader(cmd []byte) (k Kind, o Origin, body []byte, err error) {
	if len(cmd) < 2 || cmd[0] != commandVersion {
		return 0, o, nil, fmt.Errorf("%w: unknown version", errCommand)
	}
	r := base.Decoder{Rest: cmd[2:]}
	o = Origin{base.ReplicaID(r.Uvarint()), r.Uvarint()}
	if r.Bad {
		return 0, o, nil, errCommand
	}
	return Kind(cmd[1]), o, r.Rest, nil
}

// decodeJSON reads the body of a rare command.
func decodeJSON[T any](body []byte) (*T, error) {
	c := new(T)
	if err := json.Unmarshal(body, c); err != nil {
		return nil, fmt.Errorf("%w: %T: %w", errCommand, *c, err)
	}
	return c, nil
}
