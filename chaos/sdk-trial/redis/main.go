// An application process over the SDK's Redis client, as the SDK's README shows it: one import, one client from the YAML
// file. It writes keys with a counter and asks which server it is on (the key `server` of each names it), for ever, and
// prints one JSON line for every command and for every line that the SDK logs. It ends when its standard input does.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/huaweicloud/devcloud-go/common/password"
	"github.com/huaweicloud/devcloud-go/redis"
)

// What an application allows for one command.
const commandTimeout = 2 * time.Second

// line is what the trial reads; see chaos/src/sdk_trial/record.rs.
type line struct {
	Kind    string `json:"kind"`
	Worker  string `json:"worker,omitempty"`
	Number  int64  `json:"number"`
	BegunUS int64  `json:"begun_us"`
	EndedUS int64  `json:"ended_us"`
	Server  int64  `json:"server"`
	Error   string `json:"error,omitempty"`
	Text    string `json:"text,omitempty"`
}

var output struct {
	sync.Mutex
	encoder *json.Encoder
}

func emit(l line) {
	output.Lock()
	defer output.Unlock()
	if err := output.encoder.Encode(l); err != nil {
		os.Exit(3)
	}
}

// sdkLog hands the SDK's own log lines on; it uses the standard logger.
type sdkLog struct{}

func (sdkLog) Write(text []byte) (int, error) {
	now := time.Now().UnixMicro()
	emit(line{Kind: "sdk", BegunUS: now, EndedUS: now, Text: strings.TrimSpace(string(text))})
	return len(text), nil
}

// environment reads passwords from the environment: the SDK does not expand `$NAME` in the Redis file itself.
type environment struct{}

func (environment) Decode(text string) string { return os.ExpandEnv(text) }

func main() {
	configuration := flag.String("configuration", "", "the SDK configuration")
	name := flag.String("name", "process", "name of this process in the keys")
	workers := flag.Int("workers", 2, "goroutines that run commands")
	pause := flag.Duration("pause", 10*time.Millisecond, "pause after each round")
	flag.Parse()
	output.encoder = json.NewEncoder(os.Stdout)
	log.SetOutput(sdkLog{})

	password.SetDecipher(environment{})
	client := redis.NewDevsporeClientWithYaml(*configuration)
	for i := 1; i <= *workers; i++ {
		go work(client, fmt.Sprintf("%s-%d", *name, i), *pause)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func work(client *redis.DevsporeClient, worker string, pause time.Duration) {
	for number := int64(1); ; number++ {
		run(line{Kind: "set", Worker: worker, Number: number}, func(ctx context.Context, _ *line) error {
			return client.Set(ctx, fmt.Sprintf("trial:%s:%d", worker, number), number, 0).Err()
		})
		run(line{Kind: "get", Worker: worker, Number: number}, func(ctx context.Context, l *line) (err error) {
			l.Server, err = client.Get(ctx, "server").Int64()
			return err
		})
		time.Sleep(pause)
	}
}

func run(l line, command func(context.Context, *line) error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	l.BegunUS = time.Now().UnixMicro()
	err := command(ctx, &l)
	l.EndedUS = time.Now().UnixMicro()
	if err != nil {
		l.Error = err.Error()
	}
	emit(l)
}
