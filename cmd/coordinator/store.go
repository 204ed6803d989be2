// The command store: the embedded etcd alone.

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/coordinator-ha/coordinator/etcdstore/embedded"
)

const defaultEmbedURL = "http://127.0.0.1:2379"

func newStore(s streams) *cobra.Command {
	var dataDir, clientURL string
	var logs logConfig
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Run the embedded etcd alone, to try planes on one machine",
		Long:  `Run a one-member etcd for nodes on this machine. In production use an etcd cluster.`,
		Example: `  coordinator store
  coordinator run --endpoints 127.0.0.1:2379`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkEmbedURL(clientURL); err != nil {
				return usageError{fmt.Errorf("embedded etcd: %w", err)}
			}
			return logs.serving(cmd, s, func(log *logger) error {
				ctx, stop := handleSignals(cmd.Context(), log.Logger, func() { log.Info("hangup ignored: there is nothing to read again") })
				defer stop()
				return runStore(ctx, dataDir, clientURL, log.Logger)
			})
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "directory for its data")
	cmd.Flags().StringVar(&clientURL, "embed-client-url", defaultEmbedURL, "where it listens for clients")
	logs.flags(cmd.Flags())
	return cmd
}

// runStore runs the embedded etcd until ctx ends or etcd fails.
func runStore(ctx context.Context, dataDir, clientURL string, log *zap.Logger) error {
	warnOfEmbedded(clientURL, false, log)
	etcd, err := startEmbedded(ctx, dataDir, clientURL, log)
	switch {
	case err != nil && ctx.Err() != nil:
		log.Info("stopped before the start was complete", zap.Error(err))
		return nil
	case err != nil:
		return err
	}
	log.Info("store is ready", zap.String("client_url", etcd.Endpoint()), zap.String("data_dir", dataDir))
	select {
	case <-ctx.Done():
		return etcd.Close()
	case <-etcd.Failed():
		return errStoreEnded
	}
}

// startEmbedded starts the embedded etcd in a data directory.
func startEmbedded(ctx context.Context, dataDir, clientURL string, log *zap.Logger) (*embedded.Etcd, error) {
	ctx, cancel := context.WithTimeout(ctx, embedded.ReadyTimeout)
	defer cancel()
	etcd, err := embedded.Start(ctx, embedded.Config{
		Dir: filepath.Join(dataDir, "etcd"), ClientURL: clientURL, Logger: log,
	})
	switch {
	case errors.Is(err, embedded.ErrInvalid):
		return nil, usageError{fmt.Errorf("embedded etcd: %w", err)}
	case err != nil:
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	return etcd, nil
}

// checkEmbedURL checks a given URL for the embedded etcd to listen at.
func checkEmbedURL(clientURL string) error {
	if clientURL == "" {
		return fmt.Errorf("embed-client-url %q: write it as http://host:port", clientURL)
	}
	etcd := embedded.Config{ClientURL: clientURL}
	return etcd.Validate()
}

// warnOfEmbedded warns about who can reach the embedded etcd, which has no access control.
// controlled says that the API has.
func warnOfEmbedded(clientURL string, controlled bool, log *zap.Logger) {
	u, err := url.Parse(clientURL)
	switch {
	case err != nil || clientURL == "":
	case beyondLoopback(u.Host):
		log.Warn("anybody who can reach the embedded etcd may read and change everything in it; use an etcd cluster with TLS and auth", zap.String("client_url", clientURL))
	case controlled:
		log.Warn("every user of this machine may read and change everything in the embedded etcd, without a token or certificate; leave --embed-client-url out", zap.String("client_url", clientURL))
	}
}
