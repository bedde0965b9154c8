package meta

import (
	"fmt"

	"weir/internal/api"
	"weir/internal/base"
)

// PeerID is a server's peer id in the API: 8 characters that follow from its
// name, the same ones as the established server's.
func PeerID(serverName string) string { return base.ShortName(serverName) }

// RaftName is the name of a stream's Raft group in the API, S-R3F-xxxxxxxx, of
// 8 random characters.
func RaftName(replicas int, storage api.Storage, random string) string {
	kind := 'F'
	if storage == api.MemoryStorage {
		kind = 'M'
	}
	return fmt.Sprintf("S-R%d%c-%s", replicas, kind, random)
}
