# Targets of deploy/. Included by the Makefile; not part of `make test`.

.PHONY: aws-test prometheus-test compose-test systemd-test dist-test

aws-test: ## Test deploy/aws on emulators; needs python3 and PyPI
	deploy/aws/test/run

prometheus-test: ## Test deploy/prometheus and the metrics; needs promtool and amtool
	@.ci/setup compiler postgres
	deploy/prometheus/test/run

compose-test: ## Test Dockerfile and docker-compose.yml; needs docker and compose
	deploy/docker/test/run

systemd-test: ## Test deploy/systemd in a booted container; needs root, systemd-container and debootstrap
	deploy/systemd/test/run

dist-test: ## Test the package of `make dist` in a booted container without Rust; needs the same as systemd-test
	deploy/dist/test
