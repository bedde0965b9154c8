package base

import "unsafe"

// View reads b as a string without a copy. It is good for as long as nobody
// writes to b.
func View(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
