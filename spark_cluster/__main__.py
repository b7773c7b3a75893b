"""`python -m spark_cluster`."""

from spark_cluster.cli.app import main

main()
