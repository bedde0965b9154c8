package main

import (
	"errors"

	"weir/internal/base"
	"weir/internal/conf"
)

func newServer(*conf.Config, base.Logger) (instance, error) {
	return nil, errors.New("this program was built without a server")
}
