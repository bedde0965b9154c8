package machine

import (
	"fmt"

	"weir/internal/apierr"
	"weir/internal/stream"
)

// copy takes messages over from an origin, in their order, up to the first that there is no room for.
func (a *applier) copy(body []byte) error {
	r := reader{buf: body}
	now := r.varint()
	origin := string(r.bytes(r.uvarint()))
	var refused *apierr.Error
	for len(r.buf) > 0 && !r.bad && refused == nil {
		c := stream.Copied{Seq: r.uvarint(), Time: r.varint()}
		subjectLen, headerLen, dataLen := r.uvarint(), r.uvarint(), r.uvarint()
		literal := r.bytes(subjectLen)
		c.Header, c.Data = r.bytes(headerLen), r.bytes(dataLen)
		if r.bad {
			break
		}
		c.Subject = view(literal)
		result, err := a.stream.Copy(origin, now, &c, &a.message)
		if err != nil {
			return err
		}
		if result.Stored {
			a.stored(result.Previous)
		}
		refused = result.Err
	}
	if r.bad {
		return fmt.Errorf("copy: %w", errCommand)
	}
	a.reply(Reply{Err: refused})
	return nil
}
