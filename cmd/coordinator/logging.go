// The log of a serving process, and how commands report errors to it.

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"

	"github.com/coordinator-ha/coordinator/internal/logbuffer"
)

// logger is the log of a serving process, on standard error. Logging never waits for the
// reader of the log: a master that hung in its log would keep its plane without a leader.
type logger struct {
	*zap.Logger
	level zap.AtomicLevel
	lines *logbuffer.Buffer
}

// serving runs serve with a log. An error of serve is written last and by the same path,
// since standard error may have no reader by then.
func (c *logConfig) serving(cmd *cobra.Command, s streams, serve func(*logger) error) error {
	log, err := c.open(s)
	if err != nil {
		return err
	}
	defer zap.RedirectStdLog(log.Logger)()
	defer func() { _ = log.lines.Close() }() // a log without a reader does not hold up the process
	if err = serve(log); err != nil {
		printError(log.lines, cmd, err)
		err = errors.Join(errQuiet, err)
	}
	return err
}

// open makes the process's logger.
func (c *logConfig) open(s streams) (*logger, error) {
	parsed, err := c.parse()
	if err != nil {
		return nil, usageError{err}
	}
	people := c.format == "console" || c.format == "auto" && isTerminal(s.err)
	enc, out := encoder(people), s.err
	if people {
		out = terminalWriter{s.err}
	}
	lines := logbuffer.New(out, func(lost int64) []byte { return linesLost(enc, lost) })
	level := zap.NewAtomicLevelAt(parsed)
	return &logger{Logger: zap.New(zapcore.NewCore(enc, lines, level)), level: level, lines: lines}, nil
}

// encoder formats lines for people or for programs.
func encoder(people bool) zapcore.Encoder {
	ec := zap.NewProductionEncoderConfig()
	ec.TimeKey = "ts"
	ec.EncodeTime = func(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
		enc.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	ec.EncodeDuration = zapcore.StringDurationEncoder
	if people {
		ec.EncodeLevel = zapcore.CapitalLevelEncoder
		return zapcore.NewConsoleEncoder(ec)
	}
	return zapcore.NewJSONEncoder(ec)
}

// linesLost is the line that says how many lines were dropped.
func linesLost(enc zapcore.Encoder, n int64) []byte {
	var line bytes.Buffer
	log := zap.New(zapcore.NewCore(enc, zapcore.AddSync(&line), zap.WarnLevel))
	log.Warn("log lines were lost, nobody read them in time", zap.Int64("lines", n))
	return line.Bytes()
}

// quietGRPC keeps gRPC's own messages off standard error, which may have no reader; the
// errors of calls say the same. gRPC's environment variable turns them on.
func quietGRPC() {
	if os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") == "" {
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	}
}
