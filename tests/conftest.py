"""Its place puts this folder on the path of imports: ``small_problems`` serves several kinds of test."""
