package base

import "crypto/sha256"

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ShortName is 8 letters and digits that follow from a text.
func ShortName(text string) string {
	sum := sha256.Sum256([]byte(text))
	short := make([]byte, 8)
	for i := range short {
		short[i] = base62[int(sum[i])%len(base62)]
	}
	return string(short)
}
