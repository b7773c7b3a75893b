"""What is wrong with a cluster, by name: findings from the facts of all hosts. Pure.

To add a finding: an entry with a severity in core/diagnoses.yaml, a rule in the file of its
subject, a case in tests/unit/data/doctor/.
"""
