#!/usr/bin/env bash
# Deploys what `make build` has built, as the stack STACK; `infra/deploy.sh check` only checks
# whether it could. `make deploy` calls it with these variables:
#
#   SAM           the SAM CLI
#   ENV           dev, staging or prod: which file of environments/ has the parameters
#   STACK         name of the stack
#   LMS_URL       base URL of the LMS, unless that file has it
#   ARCHITECTURE  architecture of the built programs
#   PARAMETERS    further parameters of the template, which override that file:
#                 `Name=Value Name='a value'`, and `Name=''` for an empty one
#   YES           set to deploy without the confirmation that prod asks for
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "$1" >&2
    exit 2
}

[ -n "${ENV:-}" ] || fail 'Which environment? For instance: make deploy ENV=dev'
parameters="infra/environments/$ENV.yaml"
[ -f "$parameters" ] || fail "There is no $parameters: make deploy ENV=dev, staging or prod."
overrides=("file://$parameters" "Architecture=$ARCHITECTURE")
if [ -n "${LMS_URL:-}" ]; then
    overrides+=("LmsUrl=$LMS_URL")
elif ! grep -q '^LmsUrl:' "$parameters"; then
    fail "Which LMS? make deploy ENV=$ENV LMS_URL=https://lms.example.org, or LmsUrl in $parameters"
fi
# SAM ignores or truncates values that it cannot parse, and ignores unknown names, so they are
# parsed here.
names=$(sed -n '/^Parameters:/,/^Conditions:/s/^  \([A-Za-z]*\):$/\1/p' infra/template.yaml)
given=$(xargs -n 1 <<<"${PARAMETERS:-}") || fail 'PARAMETERS has a quote without its end.'
while read -r parameter; do
    [ -n "$parameter" ] || continue
    name=${parameter%%=*}
    value=${parameter#*=}
    if [ "$name" = "$parameter" ] || ! grep -qx "$name" <<<"$names"; then
        fail "PARAMETERS has '$parameter', which is no Name=Value of infra/template.yaml; a value with blanks is to be quoted."
    fi
    overrides+=("$name=\"$value\"")
done <<<"$given"
case "${1:-}" in
    check) exit ;;
    '') ;;
    *) fail "infra/deploy.sh takes 'check' or nothing." ;;
esac
[ -f .aws-sam/build/template.yaml ] || fail 'Nothing is built yet: make build'

# SAM reads only this name of the variable.
if [ -n "${AWS_REGION:-}" ]; then
    export AWS_DEFAULT_REGION="$AWS_REGION"
fi

"$SAM" deploy \
    --config-file "$PWD/infra/samconfig.toml" --config-env "$ENV" \
    --template-file .aws-sam/build/template.yaml \
    --stack-name "$STACK" \
    --parameter-overrides "${overrides[@]}" \
    ${YES:+--no-confirm-changeset}

cat <<END
The stack $STACK is deployed. What comes next, once:
  make secrets ENV=$ENV
  target/debug/coursehook --stack $STACK tokens issue lms-$ENV --staff --expires-in 365d
  target/debug/coursehook --stack $STACK doctor
docs/deploying.md says what to set in the LMS.
END
