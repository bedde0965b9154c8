package main

import (
	"weir/internal/base"
	"weir/internal/conf"
	"weir/internal/server"
)

func newServer(cfg *conf.Config, log base.Logger) (instance, error) {
	srv, err := server.New(cfg, log)
	if err != nil {
		return nil, err // not a nil *Server within an instance
	}
	return srv, nil
}
