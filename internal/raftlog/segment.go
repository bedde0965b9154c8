package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
)

// A segment file starts with two copies of its header, at 0 and at dataStart/2:
//
//	 0 magic, 8 bytes
//	 8 u32 version
//	12 u32 zero
//	16 u64 number
//	24 u64 stamp
//	32 u32 CRC32C of the 32 bytes before
//
// Records start at dataStart.
const (
	dataStart         = 4096
	segmentMagic      = "weirRLOG"
	segmentVersion    = 1
	segmentHeaderSize = 36
	segmentSuffix     = ".wal"
	temporaryName     = "next.tmp"
	lockName          = "LOCK"
)

type segment struct {
	number uint64
	stamp  uint64
	// size is the length of the file: what may be written without growing it.
	size int64
	path string
	file vfs.File
	// pins counts the groups whose oldest retained entry is in this file,
	// readers the reads under way. A file is recycled only at zero and zero;
	// readers grows only while pins is not zero.
	pins    atomic.Int32
	readers atomic.Int32
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }

func parseSegmentName(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil
}

func putSegmentHeader(page []byte, number, stamp uint64) {
	p := page[:segmentHeaderSize]
	le := binary.LittleEndian
	copy(p, segmentMagic)
	le.PutUint32(p[8:], segmentVersion)
	le.PutUint64(p[16:], number)
	le.PutUint64(p[24:], stamp)
	sealPage(p)
	copy(page[dataStart/2:], p)
}

// sealPage sets the checksum of one copy of the header.
func sealPage(p []byte) {
	binary.LittleEndian.PutUint32(p[32:], crc32.Checksum(p[:32], castagnoli))
}

// parseSegmentHeader returns the stamp of the file with that number from either
// copy of its header.
func parseSegmentHeader(page []byte, number uint64) (stamp uint64, err error) {
	le := binary.LittleEndian
	for at := 0; at+segmentHeaderSize <= len(page); at += dataStart / 2 {
		p := page[at : at+segmentHeaderSize]
		if string(p[:8]) != segmentMagic || crc32.Checksum(p[:32], castagnoli) != le.Uint32(p[32:]) {
			continue
		}
		if v := le.Uint32(p[8:]); v != segmentVersion {
			return 0, fmt.Errorf("file has format version %d, this program reads %d", v, segmentVersion)
		}
		if le.Uint64(p[16:]) == number {
			return le.Uint64(p[24:]), nil
		}
	}
	return 0, base.Corruptf("header of file %d is damaged", number)
}

// openSegment opens an existing file. The error is marked as corruption if its
// header cannot be read, and the segment is nil.
func openSegment(fs vfs.FS, dir string, number uint64) (*segment, error) {
	path := fs.PathJoin(dir, segmentName(number))
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log file %s: %w", path, err), f.Close())
	}
	page := make([]byte, dataStart)
	n, err := f.ReadAt(page, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("read log file %s: %w", path, err), f.Close())
	}
	stamp, err := parseSegmentHeader(page[:n], number)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return &segment{number: number, stamp: stamp, size: info.Size(), path: path, file: f}, nil
}

// maker makes new segments: from a file that is free, or from nothing.
type maker struct {
	fs    vfs.FS
	dir   string
	size  int64
	stamp func() uint64
}

// make returns a segment that may be written to: its space is allocated, its
// header durable, its name final. recycle is the path of a file to use up, or
// empty.
func (m *maker) make(number uint64, recycle string) (_ *segment, err error) {
	tmp := m.fs.PathJoin(m.dir, temporaryName)
	if recycle != "" {
		if err := m.takeFree(recycle, tmp); err != nil {
			return nil, fmt.Errorf("recycle log file: %w", err)
		}
	}
	f, err := m.fs.OpenReadWrite(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("create log file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), m.fs.Remove(tmp))
		}
	}()
	s := &segment{number: number, stamp: m.stamp(), path: m.fs.PathJoin(m.dir, segmentName(number)), file: f}
	if s.size, err = m.fill(f); err != nil {
		return nil, fmt.Errorf("allocate log file of %d bytes: %w", m.size, err)
	}
	page := make([]byte, dataStart)
	putSegmentHeader(page, number, s.stamp)
	if _, err = f.WriteAt(page, 0); err != nil {
		return nil, fmt.Errorf("write header of log file: %w", err)
	}
	if err = f.Sync(); err != nil {
		return nil, fmt.Errorf("sync new log file: %w", err)
	}
	if err = m.fs.Rename(tmp, s.path); err != nil {
		return nil, fmt.Errorf("name new log file: %w", err)
	}
	if err = syncDir(m.fs, m.dir); err != nil {
		return nil, err
	}
	return s, nil
}

// takeFree renames a free file, durably before its header changes. What was
// done to files before it must be durable, too: a file may vanish only after all
// older ones, since otherwise a tombstone could vanish before what it covers.
func (m *maker) takeFree(path, tmp string) error {
	if err := syncDir(m.fs, m.dir); err != nil {
		return err
	}
	if err := m.fs.Rename(path, tmp); err != nil {
		return err
	}
	return syncDir(m.fs, m.dir)
}

// deleteFree deletes a free file, durably; see takeFree.
func (m *maker) deleteFree(path string) error {
	if err := syncDir(m.fs, m.dir); err != nil {
		return err
	}
	if err := m.fs.Remove(path); err != nil {
		return fmt.Errorf("delete log file: %w", err)
	}
	return syncDir(m.fs, m.dir)
}

// fill brings f to its size with zeros and returns the size.
func (m *maker) fill(f vfs.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	have := info.Size()
	if have >= m.size {
		return have, nil
	}
	if have > 0 {
		// A file of a smaller configured size: grow it where it ends.
		_, err := f.WriteAt(make([]byte, m.size-have), have)
		return m.size, err
	}
	if err := f.Preallocate(0, m.size); err != nil {
		return 0, err
	}
	zeros := make([]byte, min(m.size, 1<<20))
	for at := int64(0); at < m.size; at += int64(len(zeros)) {
		if _, err := f.Write(zeros[:min(int64(len(zeros)), m.size-at)]); err != nil {
			return 0, err
		}
	}
	return m.size, nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open log directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync log directory: %w", err)
	}
	return nil
}
