package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/msgstore"
	"weir/internal/overlay"
	"weir/internal/raftlog"
)

// scrub checks what a stopped server has stored.
func (env *environment) scrub(args []string) error {
	set := flag.NewFlagSet("weir scrub", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	config, data := set.String("c", "", ""), set.String("data", "", "")
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(env.stdout, scrubUsage)
		return nil
	case err != nil:
		return fmt.Errorf("%w; see weir scrub -h", err)
	case (*config == "") == (*data == "") || set.NArg() > 0:
		return errors.New("scrub takes either -c FILE or --data DIR")
	}
	if *config != "" {
		cfg, err := conf.Load(*config)
		if err != nil {
			return err
		}
		*data = cfg.JetStream.StorePath()
	}
	dir := filepath.Join(*data, "weir")
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("nothing is stored in %s: %w", *data, err)
	}
	return env.scrubDir(dir)
}

// scrubDir changes nothing: what opening a log and a store tidies up stays in memory.
func (env *environment) scrubDir(dir string) error {
	fs := overlay.New(vfs.Default)
	damages := 0
	found := func(err error) {
		damages++
		fmt.Fprintf(env.stdout, "damaged: %v\n", err)
	}
	log, err := raftlog.Open(raftlog.Options{FS: fs, Dir: filepath.Join(dir, "raft"), Logger: base.NopLogger{}})
	if base.IsCorrupt(err) {
		found(err)
	} else if err != nil {
		return fmt.Errorf("open raft log: %w", err)
	} else if err := log.Close(); err != nil {
		return fmt.Errorf("close raft log: %w", err)
	}
	db, err := msgstore.Open(msgstore.Options{FS: fs, Dir: filepath.Join(dir, "streams"), NoCompactions: true})
	if err != nil {
		return fmt.Errorf("open message store: %w", err)
	}
	defer db.Close()
	stores, msgs, err := db.Scrub(found)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "%d messages in %d replicas of groups are whole\n", msgs, stores)
	if damages > 0 {
		return fmt.Errorf("%d damages", damages)
	}
	return nil
}
