package meta

import (
	"crypto/sha256"
	"fmt"

	"weir/internal/api"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// PeerID is a server's peer id in the API: 8 characters that follow from its
// name, the same ones as the established server's.
func PeerID(serverName string) string {
	sum := sha256.Sum256([]byte(serverName))
	id := make([]byte, 8)
	for i := range id {
		id[i] = base62[int(sum[i])%len(base62)]
	}
	return string(id)
}

// RaftName is the name of a stream's Raft group in the API, S-R3F-xxxxxxxx, of
// 8 random characters.
func RaftName(replicas int, storage api.Storage, random string) string {
	kind := 'F'
	if storage == api.MemoryStorage {
		kind = 'M'
	}
	return fmt.Sprintf("S-R%d%c-%s", replicas, kind, random)
}
