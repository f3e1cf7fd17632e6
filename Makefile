# A door for those who look for one: the scripts are what does the work.

.PHONY: build test quick demo bench packages clean

build:
	go build -o build/braid ./cmd/braid

test:
	scripts/test.sh

quick:
	scripts/test.sh -quick

demo:
	scripts/demo.sh

bench:
	scripts/bench.sh

packages:
	scripts/package.sh

clean:
	rm -rf build
