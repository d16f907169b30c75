package etcdreg

import (
	"context"
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// debugLog takes what the client library has to say: nothing that the Registry
// does not report too.
type debugLog struct{ fields []zapcore.Field }

func (debugLog) Enabled(zapcore.Level) bool {
	return slog.Default().Enabled(context.Background(), slog.LevelDebug)
}

func (l debugLog) With(fields []zapcore.Field) zapcore.Core {
	return debugLog{append(l.fields[:len(l.fields):len(l.fields)], fields...)}
}

func (l debugLog) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.Enabled(e.Level) {
		return ce.AddCore(e, l)
	}
	return ce
}

func (l debugLog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(l.fields[:len(l.fields):len(l.fields)], fields...) {
		f.AddTo(enc)
	}
	slog.Debug("etcd client: "+e.Message, "level", e.Level.String(), "fields", enc.Fields)
	return nil
}

func (debugLog) Sync() error { return nil }
