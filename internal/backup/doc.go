// Package backup reads and writes the archives of stream backups, in the form that nats-server 2.15 gives them: those made by
// either server can be restored into the other. The form was found out by looking at archives; tools document the order of the
// entries.
//
// An archive is one or more S2 streams, one after the other, of:
//
//	"NATSARC1", then entries
//
// Each entry is
//
//	length of the name     uvarint
//	time                   varint, unix ns
//	sequence               uvarint, 0 for what is not a message
//	length of the header   uvarint
//	length of the data     uvarint
//	name, header, data
//
// in this order:
//
//	state.json         the stream's state (api.StreamState); its time is that of the backup
//	consumers/<name>   one for each of the state's consumer_count: JSON of Consumer
//	<subject>          one for each message, by ascending sequence; a sequence that is left out was deleted
//	""                 the end: everything is 0
//
// Messages that were deleted behind the last one show only in the state's last_seq. The stream's configuration is not in the
// archive: it travels beside it. Older servers send a tar of their files instead, which is told and refused.
package backup
