package jsapi

import (
	"crypto/rand"
	"encoding/binary"
)

const nameDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// randomName is a name of n characters that nobody else draws.
func randomName(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	for i, x := range b {
		b[i] = nameDigits[int(x)%len(nameDigits)]
	}
	return string(b)
}

// anyOf is one of several, by chance; list is not empty.
func anyOf[T any](list []T) T {
	var b [8]byte
	rand.Read(b[:])
	return list[binary.LittleEndian.Uint64(b[:])%uint64(len(list))]
}
