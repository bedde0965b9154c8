package jsapi

import "crypto/rand"

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
