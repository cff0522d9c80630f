"""Apache Flink on this machine, and the jobs that run there: installed at the first use, spoken to in SQL."""
