package logging

import (
	"os"
	"path/filepath"
	"sort"
)

// backupSuffix is appended to the file's name, in the order of time.
const backupSuffix = ".2006.01.02.15.04.05.000000000"

// rotateLocked renames the file and starts a new one. When it fails, lines go on
// to the old one, and rotation waits for another SizeLimit bytes.
func (l *Logger) rotateLocked() {
	backup := l.opts.File + l.opts.Clock.Now().Format(backupSuffix)
	err := os.Rename(l.opts.File, backup)
	if err == nil {
		err = l.openLocked()
	}
	if err != nil {
		l.size = 0
		l.writeLocked("[ERR] ", "Rotating the log failed: %v", err)
		return
	}
	l.writeLocked("[INF] ", "Rotated log, backup saved as %q", backup)
	l.pruneLocked()
}

// pruneLocked removes the oldest backups that are too many.
func (l *Logger) pruneLocked() {
	if l.opts.MaxFiles <= 0 {
		return
	}
	backups, err := filepath.Glob(escapeGlob(l.opts.File) + ".[0-9][0-9][0-9][0-9].*")
	if err != nil {
		l.writeLocked("[ERR] ", "Looking for old logs failed: %v", err)
		return
	}
	sort.Strings(backups)
	for len(backups) > l.opts.MaxFiles-1 {
		if err := os.Remove(backups[0]); err != nil {
			l.writeLocked("[ERR] ", "Removing an old log failed: %v", err)
		}
		backups = backups[1:]
	}
}

// escapeGlob makes path match itself only.
func escapeGlob(path string) string {
	var b []byte
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			b = append(b, '\\')
		}
		b = append(b, path[i])
	}
	return string(b)
}
