package jsapi

import (
	"weir/internal/apierr"
	"weir/internal/jetstream"
	"weir/internal/machine"
	"weir/internal/wire"
)

// identityHeader has the identity of a stream: on a request the one that the
// client knows, on an answer the stream's. Mirrors and sources tell by it that
// their origin was deleted and made anew.
const identityHeader = "Nats-Stream-Identity"

// identify gives the answer the stream's identity.
func (c *call) identify(st *jetstream.Stream) (identity string) {
	st.View(func(m *machine.Machine) { identity = m.Stream().Identity() })
	c.replyHeader = wire.HeaderBlock(identityHeader, identity)
	return identity
}

// checkIdentity refuses a request that is meant for another stream of that name.
func (c *call) checkIdentity(st *jetstream.Stream) *apierr.Error {
	identity := c.identify(st)
	if known, _ := wire.GetHeader(c.Header, identityHeader); len(known) > 0 && string(known) != identity {
		return apierr.JSConsumerStreamIdentityMismatchF(identity)
	}
	return nil
}
