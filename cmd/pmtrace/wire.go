package main

import "errors"

var errEmpty = errors.New("its journal is empty")

func wire(w *world) {}
