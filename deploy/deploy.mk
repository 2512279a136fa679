# Targets of deploy/. Included by the Makefile; not part of `make test`.

.PHONY: aws-test prometheus-test

aws-test: ## Try deploy/aws on emulators; needs python3 and PyPI
	deploy/aws/test/run

prometheus-test: ## Check deploy/prometheus; needs Debian's prometheus and prometheus-alertmanager
	deploy/prometheus/test/run
