package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/coordinator-ha/coordinator/coordinator/driver"
	"github.com/coordinator-ha/coordinator/internal/pemfile"
)

// This file logs in to etcd with user and password.

// PasswordFile is a [Config.Password] from a file or a pipe, without the end of its line.
// It is read for each login, so that a file can be replaced while the store is open. A
// file that has no end, or a pipe that delivers nothing, is an error after two seconds.
func PasswordFile(path string) func() (string, error) {
	return func() (string, error) {
		text, err := pemfile.Read(path)
		if err != nil {
			return "", fmt.Errorf("read password: %w", err)
		}
		password := strings.TrimRight(string(text), "\r\n")
		if password == "" {
			return "", fmt.Errorf("read password: %s is empty", path)
		}
		return password, nil
	}
}

// login is a user's session with etcd: the token that is sent with each request. etcd's client
// would log in again for every stream; each renewal of a lease is a stream, and for each login
// etcd hashes a password, which is slow on purpose. Here one token is used until etcd rejects
// it. Unlike etcd's client, it also takes a changed password.
type login struct {
	user     string
	password func() (string, error)
	log      *zap.Logger
	turn     chan struct{} // is held by whoever logs in

	mu     sync.Mutex // guards the fields below
	known  bool       // token is what etcd gave last, and has not rejected
	token  string     // empty while etcd asks nobody who he is
	denied error      // why the last login was refused, for everybody until again
	again  time.Time
}

// loginPause is the time until the next login after one that was refused.
const loginPause = time.Second

// newLogin returns nil if there is no user.
func newLogin(cfg *Config) *login {
	if cfg.User == "" {
		return nil
	}
	return &login{user: cfg.User, password: cfg.Password, log: cfg.Logger, turn: make(chan struct{}, 1)}
}

// options make a client send all requests with the session's token.
func (l *login) options() []grpc.DialOption {
	if l == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(l.unary), grpc.WithChainStreamInterceptor(l.stream)}
}

// unary sends a request, and again with a new token if etcd has rejected the first.
func (l *login) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if method == pb.Auth_Authenticate_FullMethodName {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	for again := false; ; again = true {
		token, err := l.get(ctx, cc)
		if err != nil {
			return err
		}
		err = invoke(under(ctx, token), method, req, reply, cc, opts...)
		if !l.lapsed(token, err) || again {
			return err
		}
	}
}

// stream opens a stream, which keeps its token. If etcd rejects the token the stream ends, and
// the next one gets another.
func (l *login) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	token, err := l.get(ctx, cc)
	if err != nil {
		return nil, err
	}
	s, err := open(under(ctx, token), desc, cc, method, opts...)
	if err != nil {
		l.lapsed(token, err)
		return nil, err
	}
	return &session{s, l, token}, nil
}

// session is a stream with the token that it was opened with.
type session struct {
	grpc.ClientStream
	login *login
	token string
}

// RecvMsg implements [grpc.ClientStream]. etcd refuses a watch by a message.
func (s *session) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	told := err
	if w, ok := m.(*pb.WatchResponse); ok && err == nil && w.CancelReason != "" {
		told = refusedWatch(errors.New(w.CancelReason))
	}
	s.login.lapsed(s.token, told)
	return err
}

func under(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
}

// lapsed reports whether err means that etcd rejects token; then the next request logs in
// again. If etcd asked for no login so far it may do so now: then it refuses the request as an
// anonymous one, or as one of the client certificate's user.
func (l *login) lapsed(token string, err error) bool {
	err = rpctypes.Error(err)
	switch {
	case errors.Is(err, rpctypes.ErrInvalidAuthToken), errors.Is(err, rpctypes.ErrAuthOldRevision), errors.Is(err, rpctypes.ErrUserEmpty):
	case token == "" && errors.Is(err, rpctypes.ErrPermissionDenied):
	default:
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = l.known && l.token != token
	return true
}

// get returns the token, and logs in first if there is none.
func (l *login) get(ctx context.Context, cc *grpc.ClientConn) (string, error) {
	if token, done, err := l.held(); done {
		return token, err
	}
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return "", status.FromContextError(ctx.Err()).Err()
	}
	if token, done, err := l.held(); done { // another request has logged in meanwhile
		return token, err
	}
	password, err := l.password()
	if err != nil {
		return "", l.refused(err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout) // for all others wait, and a member may hang
	defer cancel()
	resp, err := pb.NewAuthClient(cc).Authenticate(ctx, &pb.AuthenticateRequest{Name: l.user, Password: password}, grpc.WaitForReady(true))
	switch code := status.Code(err); {
	case err == nil:
	case errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled):
		resp = new(pb.AuthenticateResponse) // etcd asks nobody who he is
	case code == codes.Unavailable, code == codes.DeadlineExceeded, code == codes.Canceled:
		return "", err
	default:
		return "", l.refused(loginError(err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.denied != nil {
		l.log.Info("logged in to etcd", zap.String("user", l.user))
	}
	l.known, l.token, l.denied = true, resp.Token, nil
	return l.token, nil
}

// held returns the token, or why the last login was refused, without asking etcd; done is
// false if neither is known.
func (l *login) held() (token string, done bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known {
		return l.token, true, nil
	}
	if l.denied != nil && time.Now().Before(l.again) {
		return "", true, l.denied
	}
	return "", false, nil
}

// refused notes that a login was refused. Nobody logs in again before loginPause is over.
func (l *login) refused(err error) error {
	err = fmt.Errorf("%w: log in to etcd as user %q: %w", driver.ErrDenied, l.user, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.denied == nil || l.denied.Error() != err.Error() {
		l.log.Warn("login refused by etcd, retrying", zap.Error(err))
	}
	l.denied, l.again = err, time.Now().Add(loginPause)
	return err
}

// loginError explains why etcd refused a login.
func loginError(err error) error {
	err = rpctypes.Error(err)
	switch {
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return fmt.Errorf("there is no such user, or not with this password; etcd does not tell which: %w", err)
	case strings.Contains(err.Error(), "no password user"): // an error that etcd has no code for
		return fmt.Errorf("this user has no password, only a client certificate: %w", err)
	default:
		return err
	}
}
