"""Sends or fetches files by boto3's own transfer manager, as it comes: what a store gives a program that does nothing else.

python -m benchmarks.boto_client put|get BUCKET PREFIX FOLDER
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3  # type: ignore[import-untyped]

FILES_AT_ONCE = 3


def main() -> None:
    """Send every file of a folder, or fetch every object below a prefix; credentials and address are in the environment."""
    verb, bucket, prefix, folder = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
    client = boto3.client("s3")
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        if verb == "put":
            files = [file for file in sorted(folder.iterdir()) if file.is_file()]
            list(pool.map(lambda file: client.upload_file(str(file), bucket, f"{prefix}/{file.name}"), files))
            return
        folder.mkdir()
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/")["Contents"]]
        list(pool.map(lambda key: client.download_file(bucket, key, str(folder / key.rpartition("/")[2])), keys))


if __name__ == "__main__":
    main()
