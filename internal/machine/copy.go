package machine

import (
	"fmt"

	"weir/internal/apierr"
	"weir/internal/base"
)

// copy takes messages over from an origin, in their order, up to the first that there is no room for.
func (a *applier) copy(body []byte) error {
	r := base.Decoder{Rest: body}
	now := r.Varint()
	origin := string(r.Bytes(r.Uvarint()))
	var refused *apierr.Error
	for len(r.Rest) > 0 && !r.Bad && refused == nil {
		c := decodeCopied(&r)
		if r.Bad {
			break
		}
		result, err := a.stream.Copy(origin, now, &c, &a.message)
		if err != nil {
			return err
		}
		if result.Stored {
			a.stored(result.Previous)
		}
		refused = result.Err
	}
	if r.Bad {
		return fmt.Errorf("copy: %w", errCommand)
	}
	a.reply(Reply{Err: refused})
	return nil
}

func (a *applier) meet(c *Meet) error {
	a.stream.Meet(c.Origin, c.Identity)
	a.stream.SkipTo(c.Origin, c.Before)
	a.reply(Reply{})
	return nil
}
