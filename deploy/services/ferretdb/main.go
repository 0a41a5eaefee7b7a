// FerretDB on SQLite as one small program: "ferretdb ADDRESS DIRECTORY [CERTIFICATE KEY]", until
// SIGTERM or SIGINT. With a certificate and its key (files, PEM) it speaks TLS and nothing else.
//
// The module's own command does not build from the module proxy: its version file is missing there.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 3 && len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: ferretdb ADDRESS DIRECTORY [CERTIFICATE KEY]")
		os.Exit(2)
	}
	listener := ferretdb.ListenerConfig{TCP: os.Args[1]}
	if len(os.Args) == 5 {
		listener = ferretdb.ListenerConfig{
			TLS: os.Args[1], TLSCertFile: os.Args[3], TLSKeyFile: os.Args[4],
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  listener,
		Handler:   "sqlite",
		SQLiteURL: "file:" + os.Args[2] + "/",
	})
	if err == nil {
		err = server.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
