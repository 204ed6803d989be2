package etcdstore

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Where endpoints of two clusters were named, requests that go round them all meet both.
// Taken for the store's, an answer of the other would end terms and refuse writes that
// nothing is wrong with. It counts as no answer instead: a request that is safe to send
// again goes to the next endpoint.

var errStray = status.Error(codes.Unavailable, "answered for another cluster")

// options have a client heed that.
func (sc *scout) options() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(sc.unary), grpc.WithChainStreamInterceptor(sc.stream)}
}

func (sc *scout) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	if err == nil && sc.stray(clusterOf(reply)) {
		return errStray
	}
	return err
}

func (sc *scout) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &heeded{s, sc}, nil
}

// heeded is a stream whose messages count only if they are of the store's cluster.
type heeded struct {
	grpc.ClientStream
	scout *scout
}

// RecvMsg implements [grpc.ClientStream].
func (h *heeded) RecvMsg(m any) error {
	err := h.ClientStream.RecvMsg(m)
	if err == nil && h.scout.stray(clusterOf(m)) {
		return errStray
	}
	return err
}

// clusterOf is the cluster that an answer says it is of, 0 if it does not.
func clusterOf(answer any) uint64 {
	if part, ok := answer.(*pb.RangeStreamResponse); ok {
		answer = part.GetRangeResponse()
	}
	if told, ok := answer.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		return told.GetHeader().GetClusterId()
	}
	return 0
}
