package main
import (
 _ "go.etcd.io/raft/v3"
 _ "github.com/cockroachdb/pebble/v2"
 _ "github.com/cockroachdb/pebble/v2/vfs"
 _ "github.com/nats-io/nkeys"
 _ "github.com/nats-io/nats.go"
 _ "github.com/nats-io/nats.go/jetstream"
 _ "github.com/cockroachdb/datadriven"
 _ "github.com/anishathalye/porcupine"
 _ "github.com/klauspost/compress/s2"
 _ "github.com/nats-io/nuid"
 _ "golang.org/x/crypto/bcrypt"
)
func main(){}
