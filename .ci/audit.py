"""Known vulnerabilities of what is installed, by pip-audit; fails for those alone that a newer version mends.

Where the database cannot be reached pip-audit either fails or skips every package and still says that none was found:
then one line says that nothing was audited.
"""

import json
import subprocess
import sys

COMMAND = ("pip-audit", "--local", "--skip-editable", "--progress-spinner", "off", "--format", "json")


def main() -> int:
    """Print a line for each vulnerability. Returns 1 where one of them has a fix."""
    said = subprocess.run(COMMAND, capture_output=True, text=True, check=False).stdout
    try:
        packages = json.loads(said)["dependencies"]
    except (ValueError, KeyError):
        packages = []
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        print("pip-audit: its database cannot be reached from here; nothing was audited")
        return 0
    mended = 0
    for package in audited:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"])
            mended += bool(fixed)
            print(
                f"{package['name']} {package['version']}: {found['id']}, {f'fixed in {fixed}' if fixed else 'no fix'}"
            )
    print(f"pip-audit: {len(audited)} packages audited, {len(packages) - len(audited)} are in no database")
    return 1 if mended else 0


if __name__ == "__main__":
    sys.exit(main())
