package meta

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"weir/internal/base"
)

// commandVersion is the first byte of an encoded command; then come the kind,
// proposer, sequence and time as varints, and the body in JSON: meta commands
// are rare, and a field added later is skipped by an older reader.
const commandVersion = 1

// Encode is the command as an entry of the log.
func (c Command) Encode() []byte {
	body, err := json.Marshal(c.Body)
	base.Assert(err == nil, "encoding %T: %v", c.Body, err)
	buf := make([]byte, 0, len(body)+32)
	buf = append(buf, commandVersion, c.Body.kind())
	buf = binary.AppendUvarint(buf, uint64(c.Proposer))
	buf = binary.AppendUvarint(buf, c.Seq)
	buf = binary.AppendVarint(buf, c.Time)
	return append(buf, body...)
}

// Decode reads an entry of the log. A kind or version that this one does not
// know is an error: a replica must not go on past an entry it can not apply.
func Decode(data []byte) (Command, error) {
	if len(data) < 2 {
		return Command{}, base.Corruptf("meta command of %d bytes", len(data))
	}
	if data[0] != commandVersion {
		return Command{}, fmt.Errorf("meta command of version %d: this is a newer log", data[0])
	}
	body := newBody(data[1])
	if body == nil {
		return Command{}, fmt.Errorf("meta command of unknown kind %d: this is a newer log", data[1])
	}
	r := bytes.NewReader(data[2:])
	proposer, err1 := binary.ReadUvarint(r)
	seq, err2 := binary.ReadUvarint(r)
	time, err3 := binary.ReadVarint(r)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return Command{}, base.Corruptf("meta command header: %w", err)
		}
	}
	if err := json.Unmarshal(data[len(data)-r.Len():], body); err != nil {
		return Command{}, base.Corruptf("meta command of kind %d: %w", data[1], err)
	}
	return Command{Proposer: base.ReplicaID(proposer), Seq: seq, Time: time, Body: body}, nil
}
