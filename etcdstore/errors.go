package etcdstore

import (
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/rebind"
)

// This file gives etcd's errors their meaning for the packages above, and says which of them
// prove that a write had no effect.

// The errors of a request that etcd does not permit.
var (
	errNobody    = fmt.Errorf("%w: etcd asks for credentials and got none; a client certificate counts if etcd runs with --client-cert-auth", driver.ErrDenied)
	errForbidden = fmt.Errorf("%w: etcd does not permit it", driver.ErrDenied)
)

// translate gives an error of etcd's client its meaning. The original stays wrapped for the
// log.
func translate(err error) error {
	var meaning error
	switch {
	case err == nil, errors.Is(err, driver.ErrDenied): // by a login
		return err
	case errors.Is(err, rpctypes.ErrCompacted):
		meaning = driver.ErrCompacted
	case errors.Is(err, rpctypes.ErrFutureRev):
		meaning = driver.ErrAhead
	case errors.Is(err, rpctypes.ErrNoSpace):
		meaning = driver.ErrStoreFull
	case errors.Is(err, rpctypes.ErrCorrupt):
		meaning = driver.ErrStoreCorrupt
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		meaning = driver.ErrLeaseLost
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps), tooBigToSend(err):
		meaning = driver.ErrTooLarge
	case errors.Is(err, rpctypes.ErrUserEmpty):
		meaning = errNobody
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		meaning = errForbidden
	default:
		meaning = rebind.ErrUnavailable
	}
	return fmt.Errorf("%w: %w", meaning, err)
}

// refusedWatch returns the error for which etcd refused a watch, which it reports only as
// text.
func refusedWatch(err error) error {
	for _, known := range []error{
		rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCUserEmpty, rpctypes.ErrGRPCInvalidAuthToken, rpctypes.ErrGRPCAuthOldRevision,
	} {
		if err.Error() == known.Error() {
			return rpctypes.Error(known)
		}
	}
	return err
}

// tooBigToSend reports whether grpc itself refused a message because of its size. etcd uses the
// same code when it is overloaded, but with an error of its own.
func tooBigToSend(err error) bool {
	var known rpctypes.EtcdError
	return !errors.As(err, &known) && status.Code(err) == codes.ResourceExhausted
}

// notApplied reports whether a write that failed with err certainly had no effect. After any
// other error it may have had one, or may still have one.
func notApplied(err error) bool {
	if tooBigToSend(err) {
		return true
	}
	var known rpctypes.EtcdError
	if !errors.As(err, &known) {
		return false
	}
	switch known.Code() {
	case codes.InvalidArgument, codes.ResourceExhausted, codes.NotFound, codes.FailedPrecondition,
		codes.PermissionDenied, codes.Unauthenticated, codes.OutOfRange, codes.DataLoss:
		return true
	default:
		return false
	}
}
