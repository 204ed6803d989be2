// Package onestream ends the watches of an etcd client with the connection that they began
// on. The client itself would resume them on the next connection without a word, and the
// store may have been restored between the two.
package onestream

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Client returns a client like the given one whose streams of watches end when their
// connection breaks.
func Client(client pb.WatchClient) pb.WatchClient { return watchClient{client} }

type watchClient struct{ pb.WatchClient }

// Watch implements pb.WatchClient.
func (c watchClient) Watch(ctx context.Context, opts ...grpc.CallOption) (pb.Watch_WatchClient, error) {
	opened, err := c.WatchClient.Watch(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return stream{opened}, nil
}

type stream struct{ pb.Watch_WatchClient }

// Recv implements pb.Watch_WatchClient. Of the errors that end a stream etcd's client
// retries after these two.
func (s stream) Recv() (*pb.WatchResponse, error) {
	resp, err := s.Watch_WatchClient.Recv()
	switch status.Code(err) {
	case codes.Unavailable, codes.Internal:
		return nil, status.Errorf(codes.Aborted, "stream of watches broke: %v", status.Convert(err).Message())
	default:
		return resp, err
	}
}
