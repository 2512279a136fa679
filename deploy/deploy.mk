# Targets of deploy/. Included by the Makefile; not part of `make test`.

.PHONY: aws-test prometheus-test compose-test systemd-test

aws-test: ## Try deploy/aws on emulators; needs python3 and PyPI
	deploy/aws/test/run

prometheus-test: ## Check deploy/prometheus and the metrics; needs Debian's prometheus and prometheus-alertmanager
	@.ci/setup compiler postgres
	deploy/prometheus/test/run

compose-test: ## Try Dockerfile and docker-compose.yml for real; needs docker and compose
	deploy/docker/test/run

systemd-test: ## Try deploy/systemd in a booted container; needs root, systemd-container and debootstrap
	deploy/systemd/test/run
