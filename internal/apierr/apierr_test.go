package apierr

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestTableIsGenerated(t *testing.T) {
	f, err := os.Open("js_errors.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("table.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{}
	for _, r := range rows[1:] {
		if other, taken := codes[r[2]]; taken {
			t.Errorf("%s and %s share the code %s", other, r[0], r[2])
		}
		codes[r[2]] = r[0]
		if !strings.Contains(string(table), fmt.Sprintf("// %s is %s: %s.\n", r[0], r[2], r[3])) {
			t.Errorf("table.go lacks %s: run go generate", r[0])
		}
	}
}

func TestEncoding(t *testing.T) {
	for _, c := range []struct {
		err  *Error
		want string
	}{
		{JSStreamNotFoundErr, `{"code":404,"err_code":10059,"description":"stream not found"}`},
		{JSStreamExternalApiOverlapErrF("a", "b"), `{"code":400,"err_code":10021,"description":"stream external api prefix a must not overlap with b"}`},
		{JSConsumerCreateErrF(errors.New("disk")), `{"code":500,"err_code":10012,"description":"disk"}`},
	} {
		got, err := json.Marshal(c.err)
		if err != nil || string(got) != c.want {
			t.Errorf("got %s, %v; want %s", got, err, c.want)
		}
	}
}

func TestWrapped(t *testing.T) {
	wrapped := fmt.Errorf("creating: %w", JSStreamNotFoundErr)
	if From(wrapped) != JSStreamNotFoundErr || From(errors.New("x")) != nil {
		t.Error("From")
	}
	if !errors.Is(wrapped, JSStreamNotFoundErr) || !errors.Is(JSStreamCreateErrF("a"), JSStreamCreateErrF("b")) {
		t.Error("errors.Is compares codes")
	}
}
