// An application process over the SDK's MySQL driver, as the SDK's README shows it: one import, one sql.Open with the
// YAML file. It writes rows with a counter and asks which server it is on, for ever, and prints one JSON line for every
// statement and for every line that the SDK logs. It ends when its standard input does.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	_ "github.com/huaweicloud/devcloud-go/sql-driver/mysql"
)

// What an application allows for one statement.
const statementTimeout = 2 * time.Second

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

func main() {
	configuration := flag.String("configuration", "", "the SDK configuration that the console handed out")
	name := flag.String("name", "process", "name of this process in the rows")
	workers := flag.Int("workers", 2, "goroutines that run statements")
	pause := flag.Duration("pause", 10*time.Millisecond, "pause after each round")
	flag.Parse()
	output.encoder = json.NewEncoder(os.Stdout)
	log.SetOutput(sdkLog{})

	db, err := sql.Open("devspore_mysql", *configuration)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sql.Open:", err)
		os.Exit(2)
	}
	for i := 1; i <= *workers; i++ {
		go work(db, fmt.Sprintf("%s-%d", *name, i), *pause)
	}
	now := time.Now().UnixMicro()
	emit(line{Kind: "open", BegunUS: now, EndedUS: now})
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func work(db *sql.DB, worker string, pause time.Duration) {
	for number := int64(1); ; number++ {
		run(line{Kind: "insert", Worker: worker, Number: number}, func(ctx context.Context, _ *line) error {
			_, err := db.ExecContext(ctx,
				fmt.Sprintf("INSERT INTO sdk_trial (worker, number, server) VALUES ('%s', %d, @@server_id)", worker, number))
			return err
		})
		run(line{Kind: "select", Worker: worker, Number: number}, func(ctx context.Context, l *line) error {
			return db.QueryRowContext(ctx, "SELECT @@server_id").Scan(&l.Server)
		})
		run(line{Kind: "prepared", Worker: worker, Number: number}, func(ctx context.Context, l *line) error {
			return db.QueryRowContext(ctx, "SELECT @@server_id FROM DUAL WHERE ? > 0", number).Scan(&l.Server)
		})
		time.Sleep(pause)
	}
}

func run(l line, statement func(context.Context, *line) error) {
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	l.BegunUS = time.Now().UnixMicro()
	err := statement(ctx, &l)
	l.EndedUS = time.Now().UnixMicro()
	if err != nil {
		l.Error = err.Error()
	}
	emit(l)
}
