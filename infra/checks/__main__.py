"""Checks the template.

    python infra/checks                          runs every check
    python infra/checks NAME...                  runs these checks
    python infra/checks render [ENVIRONMENT]     prints the template as SAM renders it

The rendered template has the defaults of the parameters, or the values that ENVIRONMENT
has in infra/environments, and https://lms.example.org for the LMS. The code of each
function is s3://coursehook/BINARY.zip.
"""

import json
import sys

import check
import stack


def main(arguments):
    if arguments[:1] in (["--help"], ["-h"]):
        sys.exit(__doc__)
    read = stack.Stack.read()
    if arguments[:1] == ["render"]:
        json.dump(read.render(parameters(read, arguments[1:])), sys.stdout, indent=1)
        return

    # The checks register themselves when they are imported, which takes seconds.
    import linters
    import rules

    unknown = [name for name in arguments if name not in check.CHECKS]
    if unknown:
        sys.exit(f"there is no check {', '.join(unknown)}; there are:\n" + "\n".join(check.CHECKS))
    are_fine = [check.report(name, verdicts) for name, verdicts in check.run(read, arguments)]
    if not all(are_fine):
        sys.exit(1)


def parameters(read, environment):
    """Returns the parameters for a rendering, for an environment if one is named."""
    values = {"LmsUrl": stack.PARAMETERS["LmsUrl"]}
    return values | read.environments[environment[0]] if environment else values


if __name__ == "__main__":
    main(sys.argv[1:])
