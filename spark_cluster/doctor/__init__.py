"""What is wrong with a cluster, by name: findings from the facts of all hosts. Pure.

To add a finding: an entry in core/diagnoses.yaml and in catalogue.py, a rule in the file of
its subject, a case in tests/unit/data/doctor/.
"""
