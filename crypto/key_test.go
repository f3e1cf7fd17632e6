package crypto

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestKeyText(t *testing.T) {
	key := GenerateKey()
	again, err := ParsePrivateKey(key.Reveal())
	if err != nil || !again.Equal(key) || again.Public() != key.Public() {
		t.Fatalf("private key does not survive its text: %v", err)
	}
	if GenerateKey().Equal(key) {
		t.Fatal("two generated keys are equal")
	}
	public, err := ParsePublicKey(key.Public().String())
	if err != nil || public != key.Public() {
		t.Fatalf("public key does not survive its text: %v", err)
	}
	text, _ := json.Marshal(map[PublicKey]PublicKey{public: public})
	var back map[PublicKey]PublicKey
	if err := json.Unmarshal(text, &back); err != nil || back[public] != public {
		t.Fatalf("public key does not survive JSON %s: %v", text, err)
	}
}

// The pair of RFC 8032, section 7.1, test 1: other programs must find the same
// public key.
func TestKnownPair(t *testing.T) {
	seed, _ := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	want, _ := hex.DecodeString("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
	key, err := ParsePrivateKey(base64.StdEncoding.EncodeToString(seed))
	if err != nil {
		t.Fatal(err)
	}
	if got := key.Public(); !bytes.Equal(got[:], want) {
		t.Errorf("public key %x, want %x", got[:], want)
	}
}

func TestParseErrors(t *testing.T) {
	good := GenerateKey().Reveal()
	tests := map[string]struct{ text, want string }{
		"empty":     {"", "it has 0 characters, a key has 44 (32 bytes in base64)"},
		"short":     {good[:43], "it has 43 characters"},
		"newline":   {good + "\n", "it has 45 characters"},
		"not 64":    {"!" + good[1:], "it is not standard base64"},
		"url":       {"-_" + good[2:], "it is not standard base64"},
		"inside":    {good[:20] + "\n" + good[20:43], "it is not standard base64"},
		"31 bytes":  {base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 31)), "it holds 31 bytes, a key has 32"},
		"33 bytes":  {base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 33)), "it holds 33 bytes, a key has 32"},
		"loose end": {strings.Repeat("A", 42) + "B=", "it is not standard base64"},
		"zero":      {strings.Repeat("A", 43) + "=", "all its bytes are zero"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, private := ParsePrivateKey(test.text)
			_, public := ParsePublicKey(test.text)
			unmarshalled := new(PublicKey).UnmarshalText([]byte(test.text))
			for kind, err := range map[string]error{"private key": private, "public key": errors.Join(public, unmarshalled)} {
				if err == nil || !strings.HasPrefix(err.Error(), "not a "+kind+": "+test.want) {
					t.Errorf("%s: got %v, want …%s…", kind, err, test.want)
				}
				if Hint(err) == "" {
					t.Errorf("%s: no hint", kind)
				}
			}
			if len(test.text) > 10 && strings.Contains(private.Error(), test.text[2:10]) {
				t.Errorf("the error echoes the private key: %v", private)
			}
		})
	}
}

func TestUnmarshalTextKeepsOnError(t *testing.T) {
	k := GenerateKey().Public()
	before := k
	if err := k.UnmarshalText([]byte("nonsense")); err == nil || k != before {
		t.Errorf("err %v, changed %v", err, k != before)
	}
}

func TestZeroKeys(t *testing.T) {
	var private PrivateKey
	if !private.IsZero() || !private.Public().IsZero() || private.Reveal() != "" ||
		!private.Equal(PrivateKey{}) || private.Equal(GenerateKey()) || GenerateKey().Equal(private) {
		t.Error("the zero private key is not treated as no key")
	}
	if GenerateKey().IsZero() || GenerateKey().Public().IsZero() {
		t.Error("a generated key is zero")
	}
}

// Whatever a program prints, logs or marshals, the secret is not in it.
func TestPrivateKeyNeverPrints(t *testing.T) {
	key := GenerateKey()
	type hidden struct {
		name string
		key  PrivateKey // unexported: fmt goes around Format here
	}
	type shown struct {
		Key  PrivateKey
		Also *PrivateKey
		List []PrivateKey
		Map  map[string]PrivateKey
		Any  any
	}
	values := map[string]any{
		"value":            key,
		"pointer":          &key,
		"slice":            []PrivateKey{key},
		"unexported":       hidden{"x", key},
		"unexported ptr":   &hidden{"x", key},
		"exported":         shown{key, &key, []PrivateKey{key}, map[string]PrivateKey{"a": key}, key},
		"exported ptr":     &shown{key, &key, []PrivateKey{key}, map[string]PrivateKey{"a": key}, &key},
		"nested":           []any{hidden{"x", key}, map[string]any{"k": hidden{"x", key}}},
		"error":            fmt.Errorf("wrapped %v", key),
		"error unexported": fmt.Errorf("wrapped %+v", hidden{"x", key}),
	}
	var printed bytes.Buffer
	for name, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%#x", "%d", "%o", "%b", "%c", "%U", "%t", "%f", "%e", "%T", "%p", "%w", "%z", "%10.3v", "%-60v"} {
			fmt.Fprintf(&printed, verb+"\n", value)
		}
		fmt.Fprintln(&printed, name, value)
		if text, err := json.Marshal(value); err == nil {
			printed.Write(text)
		}
		_ = xml.NewEncoder(&printed).Encode(value)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&printed, nil), slog.NewJSONHandler(&printed, nil)} {
			slog.New(handler).Info(fmt.Sprint(value), "key", value, slog.Group("g", "key", value), slog.Any("any", value))
		}
	}
	text, _ := key.MarshalText()
	fmt.Fprintln(&printed, key.String(), key.GoString(), key.LogValue(), string(text))

	seed := *key.seed()
	got := printed.String()
	if !strings.Contains(got, redacted) {
		t.Fatal("nothing was printed")
	}
	secrets := map[string]string{
		"base64":      key.Reveal()[:40],
		"raw base64":  base64.RawURLEncoding.EncodeToString(seed[:])[:40],
		"hex":         hex.EncodeToString(seed[:]),
		"HEX":         strings.ToUpper(hex.EncodeToString(seed[:])),
		"spaced hex":  fmt.Sprintf("% x", seed[:]),
		"decimal":     strings.Trim(fmt.Sprint(seed[:8]), "[]"),
		"Go syntax":   strings.Trim(strings.TrimPrefix(fmt.Sprintf("%#v", seed[:8]), "[]byte"), "{}"),
		"raw bytes":   string(seed[:8]),
		"JSON array":  strings.ReplaceAll(strings.Trim(fmt.Sprint(seed[:8]), "[]"), " ", ","),
		"half base64": key.Reveal()[:12],
	}
	for form, secret := range secrets {
		if strings.Contains(got, secret) {
			t.Errorf("the private key appears in the form %s", form)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add(GenerateKey().Public().String())
	f.Add("")
	f.Add(strings.Repeat("A", 43) + "=")
	f.Add("\n" + strings.Repeat("/", 42) + "=")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParsePublicKey(text)
		if (err == nil) == key.IsZero() {
			t.Fatalf("%q: key %v, error %v", text, key, err)
		}
		if err == nil && key.String() != text {
			t.Fatalf("%q is written again as %q", text, key)
		}
	})
}

func FuzzParsePrivateKey(f *testing.F) {
	f.Add(GenerateKey().Reveal())
	f.Add(strings.Repeat("A", 44))
	f.Add(strings.Repeat("=", 44))
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParsePrivateKey(text)
		if (err == nil) == key.IsZero() {
			t.Fatalf("%q: error %v", text, err)
		}
		if err == nil && key.Reveal() != text {
			t.Fatalf("%q is written again as %q", text, key.Reveal())
		}
	})
}
