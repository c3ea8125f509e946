"""sbom.py VERSION EPOCH: an SBOM of cyclonedx-gomod as it is for a release: with the release's
version, and without what differs from one run to the next."""
import datetime
import json
import sys

version, epoch = sys.argv[1], int(sys.argv[2])
bom = json.load(sys.stdin)
bom["metadata"]["timestamp"] = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).isoformat()
main = bom["metadata"]["component"]
old = main["bom-ref"]
new = f"{main['purl'].split('@')[0]}@{version}?type=module"
main.update({"version": version, "bom-ref": new, "purl": new})
for dependency in bom.get("dependencies", []):
    if dependency["ref"] == old:
        dependency["ref"] = new
bom["components"].sort(key=lambda c: c["bom-ref"])
json.dump(bom, sys.stdout, indent=1, sort_keys=True)
print()
