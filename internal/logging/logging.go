// Package logging writes the server's log: lines like nats-server's to standard
// error or to a file that can be reopened and that rotates at a size.
//
//	[4711] 2026/11/23 12:00:00.000000 [INF] Server is ready
package logging

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"weir/internal/base"
)

// Options say where lines go and which.
type Options struct {
	Debug bool
	Trace bool
	Time  bool // timestamps on lines
	UTC   bool // timestamps in UTC
	// File is the path that is appended to. Empty: lines go to Writer, and without
	// one to standard error.
	File   string
	Writer io.Writer
	// SizeLimit is the size in bytes above which File is rotated; 0 is never.
	SizeLimit int64
	// MaxFiles is how many files are kept, File included; 0 is all.
	MaxFiles int
	Clock    base.Clock // nil is the system's
}

// Logger is a base.Logger. All methods may be called from any goroutine.
type Logger struct {
	opts Options
	pid  string

	mu  sync.Mutex
	out io.Writer
	// file is out when lines go to a file, and size what it holds in bytes.
	file *os.File
	size int64
	line []byte
}

var _ base.Logger = (*Logger)(nil)

// New opens the log.
func New(opts Options) (*Logger, error) {
	if opts.Clock == nil {
		opts.Clock = base.SystemClock
	}
	l := &Logger{opts: opts, pid: strconv.Itoa(os.Getpid()), out: opts.Writer}
	if opts.File == "" {
		if l.out == nil {
			l.out = os.Stderr
		}
		return l, nil
	}
	if err := l.openLocked(); err != nil {
		return nil, err
	}
	return l, nil
}

// openLocked opens the file in place of the one before.
func (l *Logger) openLocked() error {
	f, err := os.OpenFile(l.opts.File, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("opening the log file: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("opening the log file: %w", err)
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.out, l.size = f, f, info.Size()
	return nil
}

// Reopen opens the file anew, so that one that was moved away is left alone. It
// does nothing when lines do not go to a file.
func (l *Logger) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opts.File == "" {
		return nil
	}
	return l.openLocked()
}

// Close closes the file. Later lines are dropped if there was one.
func (l *Logger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file, l.out = nil, io.Discard
	return f.Close()
}

func (l *Logger) Noticef(format string, args ...any) { l.write("[INF] ", format, args) }
func (l *Logger) Warnf(format string, args ...any)   { l.write("[WRN] ", format, args) }
func (l *Logger) Errorf(format string, args ...any)  { l.write("[ERR] ", format, args) }

// Fatalf writes a line that says why the process is about to end. Ending it is
// up to the caller.
func (l *Logger) Fatalf(format string, args ...any) { l.write("[FTL] ", format, args) }

func (l *Logger) Debugf(format string, args ...any) {
	if l.opts.Debug {
		l.write("[DBG] ", format, args)
	}
}

func (l *Logger) Tracef(format string, args ...any) {
	if l.opts.Trace {
		l.write("[TRC] ", format, args)
	}
}

func (l *Logger) write(level, format string, args []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeLocked(level, format, args...)
	if l.file != nil && l.opts.SizeLimit > 0 && l.size > l.opts.SizeLimit {
		l.rotateLocked()
	}
}

func (l *Logger) writeLocked(level, format string, args ...any) {
	b := append(l.line[:0], '[')
	b = append(b, l.pid...)
	b = append(b, "] "...)
	if l.opts.Time {
		now := l.opts.Clock.Now()
		if l.opts.UTC {
			now = now.UTC()
		}
		b = now.AppendFormat(b, "2006/01/02 15:04:05.000000 ")
	}
	b = append(b, level...)
	b = fmt.Appendf(b, strings.TrimSuffix(format, "\n"), args...)
	b = append(b, '\n')
	n, _ := l.out.Write(b) // there is nowhere to report that the log fails
	l.size += int64(n)
	l.line = b
}
